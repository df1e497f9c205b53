"""A Realtime server for tests and demos that knows to the last digit what it would bill.

It speaks the protocol of OpenAI (`/v1/realtime`, GA and beta), of Azure OpenAI (`/openai/realtime` and
`/openai/v1/realtime`), of Azure Voice Live (`/voice-live/realtime`, `/voice-agent/...`) and of Qwen
(`/api-ws/v1/realtime`) to unmodified clients. It makes up responses, transcriptions and their usage from a seed,
misbehaves on request, and keeps the truth: every usage it sent with quantities and costs. It shares no code and no
prices with the rest of the package, so that agreeing with it proves something.

    async with Simulator(SimulatorOptions(seed=7)) as simulator:
        client = AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1")
        ...
        await simulator.wait_idle()
        assert simulator.truth.as_json()["cost"] == "0.0237288"

`GET /truth` gives the same JSON, `GET /truth/totals` its sums alone, and `GET /healthz` answers. Every option of
`SessionOptions` can be chosen for one session in its URL:
`/v1/realtime?model=gpt-realtime&sim_outcomes=completed,cancelled&sim_deltas=20`. How a message is framed (`binary`,
`deflate`, `fragments`, `empty_first`, `pings`) is each socket's own, all else is the session's.

A sideband is `/v1/realtime?call_id=`, of a session with that `sim_call_id` or of a call that `POST /v1/realtime/calls`
set up. A socket with `webrtcfilter=on` gets what Azure shows a browser: no response, no usage. `drive` holds thousands
of sessions that a seed makes up.
"""

from realtime_spend.simulator.load import LoadOptions, LoadResult, drive
from realtime_spend.simulator.models import Deployment, Provider, Scope, parse_deployment
from realtime_spend.simulator.options import KeyOrder, Outcome, SessionOptions, SimulatorOptions, TranscriptionUsage
from realtime_spend.simulator.query import described_options, session_options
from realtime_spend.simulator.running import RunningSimulator, hold, run_in_thread, serve
from realtime_spend.simulator.server import CannotListenError, Simulator
from realtime_spend.simulator.truth import Kind, Said, SentUsage, Truth

__all__ = [
    "CannotListenError",
    "Deployment",
    "KeyOrder",
    "Kind",
    "LoadOptions",
    "LoadResult",
    "Outcome",
    "Provider",
    "RunningSimulator",
    "Said",
    "Scope",
    "SentUsage",
    "SessionOptions",
    "Simulator",
    "SimulatorOptions",
    "TranscriptionUsage",
    "Truth",
    "described_options",
    "drive",
    "hold",
    "parse_deployment",
    "run_in_thread",
    "serve",
    "session_options",
]
