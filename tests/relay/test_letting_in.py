"""Whom the relay lets in: signed tokens, whose claims become attributes, and the keys that they are checked with."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.relay.peers import PATH, client, frame, request, upstream

from realtime_spend.core.line_items import Provider
from realtime_spend.relay.tokens import KeySet, SharedSecret, TokenCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.relay.conftest import RelayTo

_SECRET = "a secret that is as long as it must be, or longer"  # noqa: S105 - of this test alone
_KEYS = {Provider.OPENAI: "sk-of-the-relay", Provider.AZURE: "azure-key-of-the-relay"}
_AUDIENCE = "relay.example"


def _check(**more: Any) -> TokenCheck:
    settings: dict[str, Any] = {"audience": _AUDIENCE, "issuer": None, "claims": {"sub": "user", "plan": "plan"}}
    return TokenCheck(SharedSecret(_SECRET), **{**settings, **more})


def _claims(**more: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    said = {"sub": "alice", "aud": _AUDIENCE, "iat": now, "exp": now + dt.timedelta(minutes=5), "plan": "gold", **more}
    return {name: value for name, value in said.items() if value is not None}


def _token(secret: Any = _SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **more: Any) -> str:
    return jwt.encode(_claims(**more), secret, algorithm=algorithm, headers=headers)


def _bearer(token: str) -> bytes:
    return request(PATH, f"Authorization: Bearer {token}")


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    usage = '{"total_tokens":3,"input_tokens":2,"output_tokens":1}'
    writer.write(frame('{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}'))
    writer.write(
        frame('{"type":"response.done","response":{"id":"resp_1","status":"completed","usage":' + usage + "}}")
    )
    await reader.read()


def _unsigned() -> str:
    parts = [{"alg": "none", "typ": "JWT"}, {**_claims(iat=None, exp=None), "exp": 4_000_000_000}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _tampered() -> str:
    head, _, signature = _token().split(".")
    body = base64.urlsafe_b64encode(json.dumps({**_claims(iat=None, exp=4_000_000_000), "sub": "bob"}).encode())
    return f"{head}.{body.decode().rstrip('=')}.{signature}"


_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (lambda: None, "token_missing"),
        (lambda: _token(exp=_AGO), "token_expired"),
        (lambda: _token(nbf=dt.datetime(2100, 1, 1, tzinfo=dt.UTC)), "token_not_yet_valid"),
        (lambda: _token(aud="another.example"), "token_wrong_audience"),
        (lambda: _token(aud=None), "token_incomplete"),
        (lambda: _token(sub=None), "token_incomplete"),
        (lambda: _token(exp=None), "token_incomplete"),
        (lambda: _token("some other secret of sufficient length"), "token_invalid"),
        (_unsigned, "token_invalid"),
        (_tampered, "token_invalid"),
        (lambda: "sk-a-key-of-the-provider", "token_invalid"),
        (lambda: _token(rsa.generate_private_key(65537, 2048), "RS256"), "token_invalid"),
        (lambda: _token(algorithm="HS512", secret=_SECRET * 2), "token_invalid"),
    ],
)
async def test_who_shows_no_good_token_is_refused_before_anything_reaches_the_upstream(
    token: Any, code: str, relay_to: RelayTo
) -> None:
    connections = []

    async def talk(*_: object) -> None:
        connections.append(1)

    shown = token()
    head = request() if shown is None else _bearer(shown)
    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, head) as peer,
    ):
        assert peer.status == 401
        answer = json.loads(await peer.to_the_end())
    assert answer["error"]["code"] == code
    assert not connections
    assert running.meter.errors() == {f"relay.{code}": 1}
    assert shown is None or shown not in json.dumps(answer)


async def test_a_token_from_somebody_else_is_refused_where_the_issuer_matters(relay_to: RelayTo) -> None:
    async with (
        upstream(_listen) as server,
        relay_to(server.url, tokens=_check(issuer="https://login.example"), keys=_KEYS) as running,
    ):
        async with client(running.relay.port, _bearer(_token(iss="https://other.example"))) as peer:
            assert json.loads(await peer.to_the_end())["error"]["code"] == "token_wrong_issuer"
        async with client(running.relay.port, _bearer(_token(iss="https://login.example"))) as peer:
            assert peer.status == 101


@pytest.mark.parametrize(
    ("path", "shown", "expected"),
    [
        (PATH, "Authorization: Bearer {}", "Authorization: Bearer sk-of-the-relay"),
        (
            PATH,
            "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{}, openai-project.mine",
            "Authorization: Bearer sk-of-the-relay",
        ),
        ("/openai/v1/realtime?model=voice", "api-key: {}", "api-key: azure-key-of-the-relay"),
        ("/openai/v1/realtime?api-key={}&model=voice", "X-Other: kept", "api-key: azure-key-of-the-relay"),
    ],
)
async def test_the_relays_key_takes_the_place_of_the_token_and_claims_become_attributes(
    path: str, shown: str, expected: str, relay_to: RelayTo
) -> None:
    token = _token(internal="not for the ledger")
    others = ("Cookie: session=of-this-site", "OpenAI-Organization: org-of-somebody", "User-Agent: a browser")
    head = request(path.format(token), shown.format(token), *others)
    async with (
        upstream(_listen) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, head) as peer,
    ):
        await peer.read(100)
        [sent] = server.requests
    text = sent.decode()
    assert token not in text
    assert f"\r\n{expected}\r\n" in text
    assert "\r\nUser-Agent: a browser\r\n" in text
    assert "Cookie" not in text
    assert "org-of-somebody" not in text
    assert "openai-project" not in text
    assert ("Sec-WebSocket-Protocol: realtime\r\n" in text) == ("realtime," in shown)
    assert text.count("api-key") + text.count("Authorization") == 1
    [record] = running.meter.records()
    assert record["attributes"] == {"user": "alice", "plan": "gold"}
    assert running.meter.sum("gen_ai.client.inference.usage.input_tokens", user="alice", plan="gold") == 2


@pytest.mark.parametrize("is_keeper", [False, True])
async def test_a_client_says_whose_session_it_is_unless_its_token_does(
    is_keeper: bool,  # noqa: FBT001 - a parameter of the test
    relay_to: RelayTo,
) -> None:
    head = request(
        PATH, f"Authorization: Bearer {_token()}", "baggage: tenant=acme%20inc,secret=kept", "Baggage: user=eve"
    )
    async with (
        upstream(_listen) as server,
        relay_to(
            server.url,
            tokens=_check() if is_keeper else None,
            keys=_KEYS if is_keeper else None,
            baggage_keys=("tenant", "user"),
        ) as running,
        client(running.relay.port, head) as peer,
    ):
        await peer.read(100)
    [record] = running.meter.records()
    said = {"user": "alice", "plan": "gold"} if is_keeper else {"tenant": "acme inc", "user": "eve"}
    assert record["attributes"] == said


@pytest.fixture
async def key_server() -> AsyncIterator[dict[str, Any]]:
    """Serve a key set; `keys` is what it holds just now, `asked` how often somebody wanted it."""
    served: dict[str, Any] = {"keys": [], "asked": 0, "status": 200, "text": None}

    async def answer(_: web.Request) -> web.Response:
        served["asked"] += 1
        if served["text"] is not None:
            return web.Response(text=served["text"])
        return web.json_response({"keys": served["keys"]}, status=served["status"])

    app = web.Application()
    app.router.add_get("/jwks", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield served
    await runner.cleanup()


def _public(key: rsa.RSAPrivateKey, name: str) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": name, "use": "sig"}


async def test_tokens_are_checked_with_the_keys_of_a_jwks_which_may_change(
    key_server: dict[str, Any], relay_to: RelayTo
) -> None:
    first, second, forger = (rsa.generate_private_key(65537, 2048) for _ in range(3))
    key_server["keys"] = [_public(first, "one")]
    keys = KeySet(key_server["url"])
    check = TokenCheck(keys, audience=_AUDIENCE, issuer=None, claims={})

    async def status(key: rsa.RSAPrivateKey, name: str | None) -> int:
        head = _bearer(_token(key, "RS256", {"kid": name} if name else None))
        async with client(running.relay.port, head) as peer:
            return peer.status

    async with upstream(_listen) as server, relay_to(server.url, tokens=check, keys=_KEYS) as running:
        assert await asyncio.gather(*(status(first, "one") for _ in range(5))) == [101] * 5
        assert key_server["asked"] == 1
        assert await status(first, None) == 101
        assert await status(forger, "one") == 401
        # A name that is not there makes us look, but not each time.
        key_server["keys"] = [_public(first, "one"), _public(second, "two")]
        assert await status(second, "two") == 401
        assert key_server["asked"] == 1
        keys._asked_at -= 60
        assert await status(second, "two") == 101
        assert [await status(forger, "three") for _ in range(3)] == [401] * 3
        assert key_server["asked"] == 2
        # The public key is known to all: as a secret it is worth nothing.
        public = first.public_key()
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        confused = jwt.api_jws.PyJWS()
        confused._algorithms["HS256"].prepare_key = lambda key: key  # type: ignore[method-assign]
        token = confused.encode(json.dumps(_claims(iat=None, exp=4_000_000_000)).encode(), pem, "HS256", {"kid": "one"})
        async with client(running.relay.port, _bearer(token)) as peer:
            assert peer.status == 401


async def test_without_keys_nobody_gets_in_and_with_old_ones_they_still_do(
    key_server: dict[str, Any], relay_to: RelayTo, caplog: pytest.LogCaptureFixture
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    key_server["status"] = 500
    keys = KeySet(f"{key_server['url']}?secret=planted")
    check = TokenCheck(keys, audience=_AUDIENCE, issuer=None, claims={})
    head = _bearer(_token(key, "RS256", {"kid": "one"}))
    async with upstream(_listen) as server, relay_to(server.url, tokens=check, keys=_KEYS) as running:
        for _ in range(2):
            async with client(running.relay.port, head) as peer:
                assert peer.status == 503
        [said] = [record.getMessage() for record in caplog.records if record.name == "realtime_spend"]
        assert "/jwks (HTTP Error 500" in said
        assert "planted" not in said
        key_server.update(status=200, keys=[_public(key, "one")])
        async with client(running.relay.port, head) as peer:
            assert peer.status == 101
        key_server["status"] = 500
        keys._asked_at -= 3_600
        async with client(running.relay.port, head) as peer:
            assert peer.status == 101


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "<html>",
        "[]",
        "[" * 100_000,
        '{"keys":5}',
        '{"keys":[5]}',
        '{"keys":[{"kty":5}]}',
        '{"keys":[{"kty":"RSA","n":"!","e":"?","kid":"one","use":"sig"}]}',
        '{"keys":[{"kty":"RSA","n":{},"e":[],"kid":["one"]}]}',
    ],
)
async def test_garbage_for_a_key_set_lets_nobody_in_and_keeps_nobody_out_who_was_let_in_before(
    garbage: str, key_server: dict[str, Any], relay_to: RelayTo
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    key_server["text"] = garbage
    keys = KeySet(key_server["url"])
    check = TokenCheck(keys, audience=_AUDIENCE, issuer=None, claims={})
    head = _bearer(_token(key, "RS256", {"kid": "one"}))
    async with upstream(_listen) as server, relay_to(server.url, tokens=check, keys=_KEYS) as running:
        async with client(running.relay.port, head) as peer:
            assert peer.status == 503
            assert json.loads(await peer.to_the_end())["error"]["code"] == "keys_unavailable"
        key_server.update(text=None, keys=[_public(key, "one")])
        async with client(running.relay.port, head) as peer:
            assert peer.status == 101
        key_server["text"] = garbage
        keys._asked_at -= 3_600
        async with client(running.relay.port, head) as peer:
            assert peer.status == 101


async def test_a_key_server_that_never_comes_to_an_end_is_not_waited_for(
    relay_to: RelayTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_spend.relay.tokens._FETCH_SECONDS", 0.5)
    enough = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not enough.is_set():
            writer.write(b" ")
            await asyncio.sleep(0.1)

    check = TokenCheck(KeySet("http://127.0.0.1:1/jwks"), audience=_AUDIENCE, issuer=None, claims={})
    head = _bearer(_token(rsa.generate_private_key(65537, 2048), "RS256", {"kid": "one"}))
    async with (
        upstream(drip, accepts=False) as key_server,
        upstream(_listen) as server,
        relay_to(server.url, tokens=check, keys=_KEYS) as running,
    ):
        check._keys = KeySet(f"{key_server.url}/jwks")
        async with client(running.relay.port, head) as peer:
            assert peer.status == 503
        enough.set()


@pytest.mark.parametrize(
    "more",
    [
        {"aud": ["other.example", _AUDIENCE]},
        {"exp": 4_000_000_000},
        {"sub": "\ud83d\ude00 ünïcode"},
    ],
)
async def test_claims_in_their_other_forms_are_as_good(more: dict[str, Any], relay_to: RelayTo) -> None:
    async with (
        upstream(_listen) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, _bearer(_token(**more))) as peer,
    ):
        assert peer.status == 101


@pytest.mark.parametrize(
    "more", [{"exp": "soon"}, {"exp": [4_000_000_000]}, {"exp": float("inf")}, {"sub": 5}, {"sub": ["a"]}, {"aud": 5}]
)
async def test_claims_that_are_none_are_refused_although_they_are_signed(
    more: dict[str, Any], relay_to: RelayTo
) -> None:
    claims = {"sub": "alice", "aud": _AUDIENCE, "exp": 4_000_000_000, **more}
    token = jwt.api_jws.PyJWS().encode(json.dumps(claims).encode(), _SECRET, "HS256")
    async with (
        upstream(_listen) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, _bearer(token)) as peer,
    ):
        assert peer.status == 401


async def test_whose_the_relays_key_is_is_not_told_and_no_cookie_is_set(relay_to: RelayTo) -> None:
    said = ("OpenAI-Organization: org-of-the-relay", "openai-project: proj_1", "Set-Cookie: __cf_bm=x", "X-Kept: 1")
    for tokens, head in ((_check(), _bearer(_token())), (None, request(PATH))):
        async with (
            upstream(_listen, *said) as server,
            relay_to(server.url, tokens=tokens, keys=_KEYS) as running,
            client(running.relay.port, head) as peer,
        ):
            assert peer.status == 101
            lines = peer.answer.decode().split("\r\n")
            assert [line in lines for line in said] == [tokens is None] * 3 + [True]


@pytest.mark.parametrize("url", ["http://login.example/jwks", "ftp://login.example/jwks", "https://", "login.example"])
def test_keys_are_fetched_from_nobody_who_could_be_anybody(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        KeySet(url)


def test_a_short_secret_and_a_reserved_attribute_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SharedSecret("short")
    with pytest.raises(ValueError, match=r"gen_ai\.system"):
        _check(claims={"sub": "gen_ai.system"})


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_what_is_wrong_with_the_relays_key_is_not_the_clients_business(status: str, relay_to: RelayTo) -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-of-the-relay"}}'

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, _bearer(_token())) as peer,
    ):
        said = await peer.to_the_end()
    assert peer.status == 502
    assert b"sk-of-the-relay" not in said
    assert json.loads(said)["error"]["code"] == "upstream_refuses_key"
