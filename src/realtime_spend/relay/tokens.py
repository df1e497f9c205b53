"""Whom the relay lets in: who shows a signed token, checked before anything reaches the upstream."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import jwt

from realtime_spend.attribution import RESERVED
from realtime_spend.relay.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger("realtime_spend")
# A shared secret shorter than its hash can be guessed (RFC 7518, 3.2).
_SHORTEST_SECRET_BYTES = 32
_LARGEST_KEY_SET = 1024 * 1024
_FETCH_SECONDS = 5.0
# A key that is not there may be a new one; but tokens can name any, and must not make us ask for each.
_ASK_AGAIN_SECONDS = 30.0
_KEYS_LIVE_SECONDS = 600.0
_LONGEST_VALUE = 4_096
_LEEWAY_SECONDS = 10

# What numbers that are none, and lists without an end, do to who reads them.
_STUMBLES = (RecursionError, OverflowError, TypeError, ValueError)
# The order matters: some of them are kinds of others.
_WHY: tuple[tuple[type[Exception], str, str], ...] = (
    (jwt.ExpiredSignatureError, "token_expired", "the token has expired"),
    (jwt.ImmatureSignatureError, "token_not_yet_valid", "the token is not valid yet"),
    (jwt.InvalidIssuedAtError, "token_not_yet_valid", "the token is not valid yet"),
    (jwt.InvalidAudienceError, "token_wrong_audience", "the token is for somebody else"),
    (jwt.InvalidIssuerError, "token_wrong_issuer", "the token is from somebody else"),
    (jwt.MissingRequiredClaimError, "token_incomplete", "the token must have exp, aud and sub"),
)


def refused(code: str, sentence: str) -> RefusedError:
    """Return why a client is not let in."""
    return RefusedError(HTTPStatus.UNAUTHORIZED, code, sentence, 'WWW-Authenticate: Bearer realm="realtime-spend"')


class Keys(Protocol):
    """Where the keys are that signatures are checked with."""

    algorithm: str

    async def key(self, key_id: str | None) -> Any:
        """Return the key of this id; RefusedError if there is none."""


class SharedSecret:
    """A secret that the relay shares with whoever signs: HS256."""

    algorithm = "HS256"

    def __init__(self, secret: str) -> None:
        if len(secret.encode()) < _SHORTEST_SECRET_BYTES:
            raise ValueError(f"the secret for tokens must have {_SHORTEST_SECRET_BYTES} bytes or more")
        self._secret = secret

    async def key(self, key_id: str | None) -> str:  # noqa: ARG002 - there is but one
        """Return the secret."""
        return self._secret


class KeySet:
    """The public keys of whoever signs, at the URL of a JWKS: RS256. They are fetched again in time."""

    algorithm = "RS256"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not (parts.scheme == "https" or (parts.scheme == "http" and is_here)) or not parts.hostname:
            raise ValueError(f"{url!r} must be an https URL: who answers there decides who is let in")
        self._url = url
        self._keys: dict[str | None, Any] = {}
        self._asked_at = -_KEYS_LIVE_SECONDS
        self._asking: asyncio.Task[None] | None = None
        # What is said of it: a query may hold somebody's key.
        self._name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._is_failing = False

    async def key(self, key_id: str | None) -> Any:
        """Return the key of this id."""
        age = time.monotonic() - self._asked_at
        if age > _KEYS_LIVE_SECONDS or (key_id not in self._keys and age > _ASK_AGAIN_SECONDS):
            await self._ask()
        if key_id not in self._keys:
            raise refused("token_invalid", "the token is signed with a key that is not known here")
        return self._keys[key_id]

    async def _ask(self) -> None:
        # However many are waiting, one question is asked for all of them.
        if self._asking is None:
            self._asking = asyncio.create_task(self._fetch())
            self._asking.add_done_callback(lambda _task: setattr(self, "_asking", None))
        await asyncio.shield(self._asking)

    async def _fetch(self) -> None:
        try:
            # A server that says a little now and then would hold up everybody.
            async with asyncio.timeout(_FETCH_SECONDS):
                self._keys = await asyncio.to_thread(_keys_at, self._url)
        except Exception as error:
            # Those that are known go on to be good; where there are none, nobody gets in.
            self._asked_at = (
                time.monotonic() - _KEYS_LIVE_SECONDS + _ASK_AGAIN_SECONDS if self._keys else self._asked_at
            )
            if not self._is_failing:
                self._is_failing = True
                why = str(error) or type(error).__name__
                _log.warning("realtime-spend: no keys to check tokens with at %s (%.200s)", self._name, why)
            if not self._keys:
                sentence = "the keys that tokens are checked with cannot be had; try again"
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "keys_unavailable", sentence) from error
            return
        self._asked_at, self._is_failing = time.monotonic(), False


def _keys_at(url: str) -> dict[str | None, Any]:
    with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as response:  # noqa: S310 - https, or this machine
        text = response.read(_LARGEST_KEY_SET)
    found = jwt.PyJWKSet.from_dict(json.loads(text))
    usable = [key for key in found.keys if key.key_type == "RSA" and key.public_key_use in (None, "sig")]
    keys: dict[str | None, Any] = {key.key_id: key.key for key in usable if key.key_id}
    # A token without a key id can only mean the only key.
    return {**keys, None: usable[0].key} if len(usable) == 1 else keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who a client is: its subject, for limits, and the attributes that what it uses is put under."""

    subject: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class TokenCheck:
    """Checks tokens: signature, expiry, audience, and issuer if one is set. `claims` maps claims to attributes."""

    def __init__(self, keys: Keys, *, audience: str, issuer: str | None, claims: Mapping[str, str]) -> None:
        if reserved := [name for name in claims.values() if name.startswith(RESERVED)]:
            raise ValueError(f"the attribute {reserved[0]!r} is not yours to set; choose another name")
        self._keys, self._audience, self._issuer, self._claims = keys, audience, issuer, claims

    async def known(self, token: str | None) -> Known:
        """Return who shows this token; RefusedError if it is none that is good here and now."""
        if not token:
            raise refused("token_missing", "a signed token is needed where the provider's key would be")
        try:
            header = jwt.get_unverified_header(token)
            # What a token says of its own algorithm is not believed, only compared.
            if header.get("alg") != self._keys.algorithm:
                raise refused("token_invalid", f"the token must be signed with {self._keys.algorithm}")
            claims = jwt.decode(
                token,
                await self._keys.key(header.get("kid")),
                algorithms=[self._keys.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "sub"]},
            )
        except (jwt.PyJWTError, *_STUMBLES) as error:
            for kind, code, sentence in _WHY:
                if isinstance(error, kind):
                    raise refused(code, sentence) from None
            raise refused("token_invalid", "the token is not one that was signed for this relay") from None
        return Known(subject=claims["sub"], attributes=self._attributes(claims))

    def _attributes(self, claims: Mapping[str, object]) -> dict[str, str]:
        told = {name: claims.get(claim) for claim, name in self._claims.items()}
        return {
            name: str(value).encode("utf-8", "replace").decode()[:_LONGEST_VALUE]
            for name, value in told.items()
            if isinstance(value, str | int) and value != ""
        }
