"""A relay with its outputs caught, in front of whatever upstream a test has."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.hooks.conftest import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_spend.relay.tokens import TokenCheck

from realtime_spend.configuration import configure
from realtime_spend.core.line_items import Provider
from realtime_spend.relay.running import metered
from realtime_spend.relay.server import Relay
from realtime_spend.relay.settings import Limits, RelaySettings, upstream_of

QUICK = Limits(ending=1.0)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A relay that listens, and what it has counted."""

    relay: Relay
    meter: Meter

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.port}"

    async def is_empty(self) -> None:
        """Wait until no session is left."""
        for _ in range(1000):
            if not len(self.relay.register):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a session is still open")

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.relay.port


RelayTo = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def relay_to(tmp_path: Path) -> RelayTo:
    """Run a relay to an upstream for as long as a block lasts."""
    made: list[Path] = []

    @contextlib.asynccontextmanager
    async def running(
        upstream: str = "",
        *,
        upstreams: dict[Provider, str] | None = None,
        limits: Limits | None = None,
        tokens: TokenCheck | None = None,
        keys: dict[Provider, str] | None = None,
        trusted: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        **configuration: Any,
    ) -> AsyncIterator[Running]:
        folder = tmp_path / f"ledger-{len(made)}"
        made.append(folder)
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        settings = RelaySettings(
            upstreams={
                each: upstream_of(each, url, (keys or {}).get(each))
                for each, url in (upstreams or dict.fromkeys(Provider, upstream)).items()
            },
            port=0,
            limits=limits or Limits(),
            tls=tls,
            upstream_tls=trusted or ssl.create_default_context(),
        )
        chosen = configure({}, {"ledger": folder, **configuration})
        assert not chosen.problems
        parts = metered(chosen, provider)
        relay = Relay(
            settings,
            parts.metering,
            tokens=tokens,
            endpoints=chosen.endpoints,
            baggage_keys=chosen.baggage_keys,
            count=parts.meters.count_error,
            on_session=parts.look,
        )
        await relay.start()
        try:
            yield Running(relay=relay, meter=Meter(reader=reader, folder=folder, origin="relay"))
        finally:
            await relay.stop()
            parts.metering.finish()
            provider.shutdown()

    return running


@pytest.fixture
def spend() -> Callable[[Meter], Decimal]:
    """Add up a ledger."""
    return lambda meter: sum((Decimal(record["cost"]) for record in meter.records()), Decimal(0))
