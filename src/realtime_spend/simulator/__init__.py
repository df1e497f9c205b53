"""A Realtime server for tests and demos that knows to the last digit what it would bill.

It speaks the protocol of OpenAI (`/v1/realtime`, GA and beta) and of Azure OpenAI (`/openai/realtime` and
`/openai/v1/realtime`) to unmodified clients, makes up responses, transcriptions and their usage from a seed, misbehaves
on request, and keeps the truth: every usage it sent with quantities and costs. It shares no code and no prices with the
rest of the package, so that agreeing with it proves something.

    async with Simulator(SimulatorOptions(seed=7)) as simulator:
        client = AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1")
        ...
        await simulator.wait_idle()
        assert simulator.truth.as_json()["cost"] == "0.0237288"

`GET /truth` gives the same JSON and `GET /healthz` answers. Every option of `SessionOptions` can be chosen for one
session in its URL: `/v1/realtime?model=gpt-realtime&sim_outcomes=completed,cancelled&sim_deltas=20`.
"""

from realtime_spend.simulator.models import Deployment, Provider, Scope, parse_deployment
from realtime_spend.simulator.options import KeyOrder, Outcome, SessionOptions, SimulatorOptions, TranscriptionUsage
from realtime_spend.simulator.query import session_options
from realtime_spend.simulator.running import RunningSimulator, run_in_thread, serve
from realtime_spend.simulator.server import Simulator
from realtime_spend.simulator.truth import Kind, Said, SentUsage, Truth

__all__ = [
    "Deployment",
    "KeyOrder",
    "Kind",
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
    "parse_deployment",
    "run_in_thread",
    "serve",
    "session_options",
]
