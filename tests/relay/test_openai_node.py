"""The recipe for openai-node, run as it stands, with everything that passes recorded on both sides."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import trustme
from tests.relay.programs import node_with
from tests.relay.wires import Wire

from realtime_spend.relay.frame_walk import header_at
from realtime_spend.simulator import Simulator, SimulatorOptions

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo

_RECIPE = Path(__file__).resolve().parents[2] / "examples" / "openai_node.mjs"
# What the recipe's own socket gets and sends is told beside it, by what the SDK hands it to.
_LISTENING = """\
import { createHash } from 'node:crypto';
import { WebSocket } from 'ws';
import { writeFileSync, appendFileSync } from 'node:fs';
const told = process.env.TOLD;
writeFileSync(told, '');
const digest = (data) => createHash('sha256').update(data).digest('hex');
const say = (way, data) => appendFileSync(told, JSON.stringify([way, digest(data)]) + '\\n');
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data, ...more) { say('said', data); return send.call(this, data, ...more); };
const emit = WebSocket.prototype.emit;
WebSocket.prototype.emit = function (name, data, ...more) {
  if (name === 'message') say('heard', data);
  return emit.call(this, name, data, ...more);
};
"""


def _messages(stream: bytes) -> list[str]:
    """Return a digest of each message in a stream of frames that are whole."""
    found, position = [], 0
    while (header := header_at(stream, position)) is not None:
        first, is_masked, body, length = header
        payload = stream[body : body + length]
        if is_masked:
            mask = stream[body - 4 : body]
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        if first & 0x0F < 8:
            assert first & 0x80
            found.append(hashlib.sha256(payload).hexdigest())
        position = body + length
    return found


async def test_openai_node_goes_through_the_relay_by_its_base_url_alone(relay_to: RelayTo, tmp_path: Path) -> None:
    node, home = await asyncio.to_thread(node_with, "openai@6.49.0", "ws@8.23.0")
    shutil.copytree(home / "node_modules", tmp_path / "node_modules", symlinks=True)
    shutil.copy(_RECIPE, tmp_path / "recipe.mjs")
    (tmp_path / "listening.mjs").write_text(_LISTENING, encoding="utf-8")
    authority = trustme.CA()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(own)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    async with (
        Simulator(SimulatorOptions(seed=9)) as simulator,
        Wire("127.0.0.1", simulator.port) as behind,
        relay_to(behind.url, tls=own) as running,
    ):
        program = await asyncio.create_subprocess_exec(
            node,
            "--import",
            "./listening.mjs",
            "recipe.mjs",
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "OPENAI_API_KEY": "sk-of-node",
                "OPENAI_BASE_URL": f"https://localhost:{running.relay.port}/v1",
                "NODE_EXTRA_CA_CERTS": str(tmp_path / "authority.pem"),
                "TOLD": str(tmp_path / "told"),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(program.communicate(), 60)
        assert program.returncode == 0, err.decode()
        await simulator.wait_idle()
        for _ in range(500):
            if behind.is_over and not len(running.relay.register):
                break
            await asyncio.sleep(0.01)
        truth = simulator.truth.as_json()
        [recorded] = behind.connections
        running.meter.agrees_with(truth)
    told = [json.loads(line) for line in (tmp_path / "told").read_text(encoding="utf-8").splitlines()]
    assert [digest for way, digest in told if way == "heard"] == _messages(recorded.frames_to_client)
    assert [digest for way, digest in told if way == "said"] == _messages(recorded.frames_to_server)
    answers = [json.loads(line) for line in out.decode().splitlines()]
    assert [answer["response"] for answer in answers] == [usage["id"] for usage in truth["usages"]]
    assert b"authorization: bearer sk-of-node" in recorded.request.lower()
