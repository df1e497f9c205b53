"""The relay as a program: killed in the middle of everything, told to end, and several of it on one port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import websockets
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.hooks.messages import CREATE
from tests.relay.peers import PATH, client, request, upstream
from tests.relay.programs import COMMAND, Process, relay_process

from realtime_spend.demo.receiver import receiving
from realtime_spend.relay.open_files import room
from realtime_spend.simulator import Simulator, SimulatorOptions

if TYPE_CHECKING:
    from tests.conftest import Run

_SECRET = "a secret that is as long as it must be, or longer"  # noqa: S105 - of this test alone


def _records(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in ledger.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]


async def _half_way(url: str) -> Any:
    """Hold a session until two responses are done and a third has begun."""
    # A hundred of them may come to a busy machine at once, and leave unread what would keep them from closing.
    connection = await websockets.connect(url, proxy=None, open_timeout=60, max_queue=None)
    for last in ("response.done", "response.done", "response.created"):
        await connection.send(CREATE)
        async for text in connection:
            if json.loads(text)["type"] == last:
                break
    return connection


async def test_killed_in_the_middle_of_a_hundred_sessions_it_has_lost_no_usage(run: Run, tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=3, max_sessions=200)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url) as running:
            url = f"ws://127.0.0.1:{running.port}{PATH}&sim_outcomes=completed,completed,never_finished"
            connections = await asyncio.gather(*(_half_way(url) for _ in range(100)))
            sent = simulator.truth.as_json()
            status, _, _ = await asyncio.to_thread(running.end, signal.SIGKILL)
            assert status == -signal.SIGKILL
            for connection in connections:
                await connection.wait_closed()
    assert len(sent["usages"]) == 200
    records = _records(running.ledger)
    assert {record["id"] for record in records} == {usage["id"] for usage in sent["usages"]}
    assert len(records) == 200
    told = run("report", running.ledger, "--json").json
    assert [total["cost"] for total in told["totals"]] == [sent["cost"]]


async def test_told_to_end_it_lets_sessions_end_and_is_gone(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url, "--drain", "30") as running:
            connection = await _half_way(f"ws://127.0.0.1:{running.port}{PATH}")
            running.process.send_signal(signal.SIGTERM)
            await _until_draining(running)
            async with client(running.port) as late:
                assert late.status == 503
            # The session goes on as if nothing were.
            async for text in connection:
                if json.loads(text)["type"] == "response.done":
                    break
            await connection.close()
            out, err = await asyncio.to_thread(running.process.communicate)
            assert (running.process.returncode, out, err) == (0, "", "")
        await simulator.wait_idle()
        sent = simulator.truth.as_json()
    assert {record["id"] for record in _records(running.ledger)} == {usage["id"] for usage in sent["usages"]}


async def test_told_twice_it_waits_for_nobody(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url) as running:
            url = f"ws://127.0.0.1:{running.port}{PATH}&sim_outcomes=completed,completed,never_finished"
            await _is_urged_to_end(running, await _half_way(url))
    assert [record["usage"] for record in _records(running.ledger)] == ["reported", "reported", "lost"]


async def _is_urged_to_end(running: Process, connection: Any) -> None:
    """Ask twice; see that the session is told, and that the relay ends well."""
    running.process.send_signal(signal.SIGTERM)
    await _until_draining(running)
    running.process.send_signal(signal.SIGTERM)
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await asyncio.wait_for(_forever(connection), 20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    await asyncio.to_thread(running.process.communicate)
    assert running.process.returncode == 0


async def _forever(connection: Any) -> None:
    while True:
        await connection.recv()


async def _until_draining(running: Process) -> None:
    for _ in range(1500):
        # A worker that has nothing left to do resets who has just come to it.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with client(running.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n") as asking:
                if asking.status == 503:
                    return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not drain")


async def test_a_signal_that_workers_get_from_two_still_lets_sessions_end(tmp_path: Path) -> None:
    """A terminal, or whoever ends a service, tells each process of a group, and their parent tells them too."""
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        arguments = ("--openai", simulator.url, "--workers", "2", "--drain", "30")
        with relay_process(tmp_path / "ledger", *arguments) as running:
            connection = await _half_way(f"ws://127.0.0.1:{running.port}{PATH}")
            workers = await _workers(running.process.pid, 2)
            for process in (*workers, running.process.pid):
                os.kill(process, signal.SIGINT)
            await _until_draining(running)
            await asyncio.sleep(0.5)
            # One that has begun, and one that is asked for only now.
            for ask in (False, True):
                if ask:
                    await connection.send(CREATE)
                while json.loads(await connection.recv())["type"] != "response.done":
                    pass
            await connection.close()
            await asyncio.to_thread(running.process.communicate)
            assert running.process.returncode == 0
        await simulator.wait_idle()
        sent = simulator.truth.as_json()
    assert {record["id"] for record in _records(running.ledger)} == {usage["id"] for usage in sent["usages"]}


async def test_signals_that_come_late_do_not_keep_workers_from_sending_their_last_metrics(tmp_path: Path) -> None:
    """Whichever thread they are given to: one looks names up, and one flushes when the last session has ended."""
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        with receiving() as (endpoint, received):
            where = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
            named = simulator.url.replace("127.0.0.1", "localhost")
            arguments = ("--openai", named, "--workers", "2")
            with relay_process(tmp_path / "ledger", *arguments, environment=where) as running:
                url = f"ws://127.0.0.1:{running.port}{PATH}"
                connections = await asyncio.gather(*(_half_way(url) for _ in range(10)))
                await asyncio.gather(*(connection.close() for connection in connections))
                await simulator.wait_idle()
                workers = await _workers(running.process.pid, 2)
                running.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(60):
                    while running.process.poll() is None:
                        for worker in workers:
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(worker, signal.SIGTERM)
                        await asyncio.sleep(0.001)
                assert running.process.returncode == 0
        reported = [usage for usage in simulator.truth.as_json()["usages"] if usage["usage"] == "reported"]
    assert len(reported) >= 20
    assert received.total("realtime_spend.usages", {"realtime_spend.usage": "reported"}) == len(reported)


async def test_workers_told_twice_wait_for_nobody(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        arguments = ("--openai", simulator.url, "--workers", "2", "--drain", "60")
        with relay_process(tmp_path / "ledger", *arguments) as running:
            url = f"ws://127.0.0.1:{running.port}{PATH}&sim_outcomes=completed,completed,never_finished"
            await _is_urged_to_end(running, await _half_way(url))


def _ended(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the relay to its end, with nobody there to be asked."""
    return subprocess.run(
        [*COMMAND, "relay", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_workers_that_cannot_begin_say_why(tmp_path: Path) -> None:
    wrong = {"REALTIME_SPEND_LEDGER": str(tmp_path), "OTEL_METRICS_EXPORTER": "nonsense"}
    ended = _ended("--port", "0", "--workers", "2", **wrong)
    assert ended.returncode == 2
    assert "OTEL_METRICS_EXPORTER=nonsense is no exporter" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_without_files_left_it_lets_nobody_in_and_goes_on_when_there_are_some(tmp_path: Path) -> None:
    async with upstream(_quiet) as server:
        with relay_process(tmp_path / "ledger", "--openai", server.url) as running:
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (64, 64))
            held = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(100)]
            assert running.process.stderr is not None
            said = await asyncio.to_thread(running.process.stderr.readline)
            # Only now: of an upstream that could not be opened it would be told first, where it had read them before.
            for _, writer in held[:20]:
                writer.write(request(PATH))
            for _, writer in held:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            async with client(running.port) as peer:
                assert peer.status == 101
            status, _, err = await asyncio.to_thread(running.end, signal.SIGTERM)
    assert "no more files can be opened" in said
    assert status == 0
    # Of those that came meanwhile one line is said, of each kind.
    assert all(line.startswith("realtime-spend: a client was refused: ") for line in err.splitlines()), err


async def _quiet(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("files", "expected"),
    [(-1, (1000, 1000)), (20_000, (1000, 1000)), (1_024, (424, 128)), (64, (4, 8)), (16, (1, 4))],
)
def test_as_many_sessions_are_held_as_there_are_files_for(files: int, expected: tuple[int, int]) -> None:
    assert room(files, 1_000, 1_000) == expected


def test_too_few_files_are_said(tmp_path: Path) -> None:
    """In a process of its own, whose limit nobody else has."""
    program = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); {COMMAND[2]}"
    process = subprocess.Popen(
        [COMMAND[0], "-c", program, "relay", "--port", "0"],
        env={**os.environ, "REALTIME_SPEND_LEDGER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://")
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert "256 open files are enough for 88 sessions" in err


async def test_several_workers_share_one_port_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=4, max_sessions=200)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url, "--workers", "2") as running:
            url = f"ws://127.0.0.1:{running.port}{PATH}"
            connections = await asyncio.gather(*(_half_way(url) for _ in range(40)))
            await asyncio.gather(*(connection.close() for connection in connections))
            await simulator.wait_idle()
            # What nobody saw finished is written only when a worker has found out that its session is over.
            await _all_written(running.ledger, simulator)
            workers = await _workers(running.process.pid, 2)
            os.kill(workers[0], signal.SIGKILL)
            again = await _workers(running.process.pid, 2, without=workers[0])
            assert workers[0] not in again
            connections = await asyncio.gather(*(_half_way(url) for _ in range(40)))
            await asyncio.gather(*(connection.close() for connection in connections))
            await simulator.wait_idle()
            status, _, err = await asyncio.to_thread(running.end, signal.SIGTERM)
            assert (status, err) == (0, "realtime-spend: a worker has ended; another one takes its place\n")
        sent = simulator.truth.as_json()
    records = _records(running.ledger)
    assert {record["id"] for record in records} == {usage["id"] for usage in sent["usages"]}
    assert len({record["writer"] for record in records}) >= 2, "the kernel spreads eighty connections over two"


async def _all_written(ledger: Path, simulator: Simulator) -> None:
    sent = {usage["id"] for usage in simulator.truth.as_json()["usages"]}
    for _ in range(1500):
        if sent <= _written(ledger):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a usage is not written")


def _written(ledger: Path) -> set[str]:
    """Return the ids of all usages in lines that are whole: one may just be written."""
    lines = [line for file in ledger.glob("*.jsonl") for line in file.read_text("utf-8").split("\n")[:-1]]
    return {json.loads(line)["id"] for line in lines}


def _children(parent: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]


async def _workers(parent: int, count: int, without: int = 0) -> list[int]:
    for _ in range(1500):
        found = [number for number in _children(parent) if number != without]
        if len(found) == count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{parent} has other children: {found}")


async def test_a_worker_whose_parent_was_killed_ends(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url, "--workers", "2") as running:
            async with client(running.port):
                pass
            workers = await _workers(running.process.pid, 2)
            running.process.kill()
            running.process.wait()
            for _ in range(1000):
                if not any(_lives(worker) for worker in workers):
                    break
                await asyncio.sleep(0.02)
            assert not any(_lives(worker) for worker in workers)


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_tokens_and_keys_are_taken_from_the_environment(tmp_path: Path) -> None:
    import jwt  # noqa: PLC0415

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    token = jwt.encode({"sub": "alice", "aud": "voice", "exp": 4_000_000_000}, _SECRET, "HS256")
    async with upstream(talk) as server:
        with relay_process(
            tmp_path / "ledger",
            *("--openai", server.url, "--audience", "voice", "--claim", "sub=user"),
            environment={"REALTIME_SPEND_RELAY_TOKEN_SECRET": _SECRET, "OPENAI_API_KEY": "sk-planted"},
        ) as running:
            async with client(running.port, request(PATH, f"Authorization: Bearer {token}")) as peer:
                assert peer.status == 101
            async with client(running.port) as peer:
                assert peer.status == 401
            assert b"Authorization: Bearer sk-planted" in server.requests[0]
            _, out, err = await asyncio.to_thread(running.end, signal.SIGTERM)
    assert "sk-planted" not in out + err


def test_a_relay_to_itself_is_refused(run: Run, unused_tcp_port: int) -> None:
    answer = run("relay", "--port", str(unused_tcp_port), "--openai", f"http://localhost:{unused_tcp_port}")
    assert answer.status == 2
    assert "is this relay itself" in answer.err


async def test_what_it_counts_goes_where_opentelemetry_says(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=4)) as simulator:
        with receiving() as (endpoint, received):
            where = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
            arguments = ("--openai", simulator.url, "--workers", "2")
            with relay_process(tmp_path / "ledger", *arguments, environment=where) as running:
                url = f"ws://127.0.0.1:{running.port}{PATH}"
                connections = await asyncio.gather(*(_half_way(url) for _ in range(10)))
                await asyncio.gather(*(connection.close() for connection in connections))
                await simulator.wait_idle()
                status, _, err = await asyncio.to_thread(running.end, signal.SIGTERM)
                assert status == 0, err
        sent = simulator.truth.as_json()
    reported = [usage for usage in sent["usages"] if usage["usage"] == "reported"]
    assert reported
    assert received.total("realtime_spend.usages", {"realtime_spend.usage": "reported"}) == len(reported)
    assert received.total("realtime_spend.cost", {}) == pytest.approx(float(sent["cost"]), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--audience", "x"], {}, "tokens need a key"),
        (["--jwks", "https://x/jwks"], {}, "give --audience"),
        (["--jwks", "https://x/jwks", "--audience", "x"], {}, "set OPENAI_API_KEY"),
        (["--jwks", "http://x.example/jwks", "--audience", "x"], {"OPENAI_API_KEY": "k"}, "https"),
        (["--jwks", "https://x", "--audience", "x"], {"REALTIME_SPEND_RELAY_TOKEN_SECRET": _SECRET}, "both given"),
        (["--audience", "x"], {"REALTIME_SPEND_RELAY_TOKEN_SECRET": "short"}, "32 bytes"),
        (["--openai", "api.openai.com"], {}, "https://api.openai.com"),
        (["--azure", "https://user:pw@x.example"], {}, "without user"),
        (["--tls-key", __file__], {}, "--tls-cert"),
        (["--upstream-ca", __file__], {}, "no certificates"),
        (["--tls-cert", __file__], {}, "cannot be used"),
        (["--max-spend", "much"], {}, "amount of USD"),
        (["--max-idle", "inf"], {}, "--max-idle"),
        ([], {"REALTIME_SPEND_LEDGER": f"{__file__}/ledger"}, "cannot be written"),
        (["--drain", "nan"], {}, "no number of seconds"),
        (["--openai", "https://api.openai.com/v1"], {}, "give https://api.openai.com"),
        (["--azure", "https://x.openai.azure.com/openai/v1/"], {}, "give https://x.openai.azure.com"),
        (["--openai", "https://exa mple.com"], {}, "is no URL"),
        (["--openai", "https://example.com/a b"], {}, "is no URL"),
        (
            ["--audience", "x", "--claim", "sub="],
            {"REALTIME_SPEND_RELAY_TOKEN_SECRET": _SECRET},
            "--claim 'sub=' names nothing",
        ),
    ],
)
def test_what_is_set_wrong_is_said_in_a_sentence(
    run: Run, arguments: list[str], environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    answer = run("relay", "--port", "0", *arguments, **environment)
    assert answer.status == 2
    assert sentence in answer.err
    assert "user:pw" not in answer.err


def test_a_key_behind_a_pass_phrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    hidden = BestAvailableEncryption(b"a pass phrase")
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    (tmp_path / "cert.pem").write_bytes(trustme.CA().issue_cert("localhost").cert_chain_pems[0].bytes())
    ended = _ended("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    assert ended.returncode == 2
    assert "cannot be used" in ended.stderr
    assert "pass phrase" not in ended.stdout


def test_a_port_that_is_taken_is_said(run: Run) -> None:
    import socket  # noqa: PLC0415

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = run("relay", "--port", str(taken.getsockname()[1]))
    assert answer.status == 2
    assert "in use" in answer.err
