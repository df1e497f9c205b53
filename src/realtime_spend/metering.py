"""Joins core and sinks: what a socket tells becomes usages, line items, metrics and ledger records."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from realtime_spend.advice import advice
from realtime_spend.configuration import Role
from realtime_spend.core.endpoints import Service
from realtime_spend.core.naming import Naming
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Reason
from realtime_spend.core.session import FirstOutput, Metered, ModelNamed, Repeated, Sessions, Unread
from realtime_spend.core.usage import Amounts, Kind, Reported
from realtime_spend.rated import Rated, instant_text
from realtime_spend.sinks import metrics as names
from realtime_spend.sinks.counting import count_usages, let_appear
from realtime_spend.sinks.flusher import Flusher
from realtime_spend.sinks.ledger import Ledger
from realtime_spend.sinks.records import RecordForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import MeterProvider

    from realtime_spend.configuration import Configuration
    from realtime_spend.containment import Containment
    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named, Resolved
    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.session import Learned
    from realtime_spend.sinks.metrics import Metrics, Series
    from realtime_spend.watcher import Watcher

# A metric's label is kept in every series and sent with every export; the ledger has the whole value.
_LONGEST_LABEL = 200
# Usages that wait for the thread that collects; each keeps some 3 KB.
_MOST_TO_COUNT = 250
# How many of them the call counts where no thread collects: alike ones take little more time than one of them.
_AT_ONCE = 16


class Metering:
    """Everything that happens to a usage after it was read, for one process and one meter provider."""

    def __init__(
        self,
        *,
        book: RateBook,
        naming: Naming,
        metrics: Metrics,
        ledger: Ledger | None,
        flusher: Flusher,
        containment: Containment,
        counts: bool = True,
        account: str | None = None,
    ) -> None:
        self.sessions = Sessions()
        self.containment = containment
        self._book, self._naming, self._metrics, self._ledger = book, naming, metrics, ledger
        self._flusher, self._counts, self._account = flusher, counts, account
        self._live: WeakSet[Watcher] = WeakSet()
        self._live_lock = threading.RLock()
        self.let_go: deque[Watcher] = deque()
        self._to_count: deque[tuple[Series, Metered, Priced, bool]] = deque()
        metrics.before_collection = self._before_collection
        _ALL.add(self)

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        provider: MeterProvider,
        *,
        book: RateBook,
        meters: Metrics,
        containment: Containment,
    ) -> Self:
        """Return the metering that users have set."""
        return cls(
            book=book,
            naming=Naming(book, configuration.deployments),
            metrics=meters,
            ledger=None if configuration.ledger is None else Ledger(configuration.ledger),
            flusher=Flusher(provider),
            containment=containment,
            counts=configuration.role is Role.COUNTER,
            account=configuration.account,
        )

    @property
    def ledger(self) -> Ledger | None:
        """Where usage is written down, if anywhere."""
        return self._ledger

    def can_write(self) -> bool:
        """Whether usage gets into the ledger, if there is one. Where the newest did not, it is tried without any."""
        return self._ledger is None or self._ledger.try_again() is None

    def begin(self, watcher: Watcher) -> None:
        """Count a session that was opened."""
        self._close_let_go()
        with self._live_lock:
            self._live.add(watcher)
        if self._counts:
            self._move(watcher, watcher.rated(watcher.named).series)

    def end(self, watcher: Watcher, nanoseconds: int) -> None:
        """Count a session that was closed; with the last one, what was counted is sent."""
        with self._live_lock:
            self._live.discard(watcher)
            was_last = not self._live
        if self._counts:
            self._move(watcher, None)
            if nanoseconds >= 0:
                attributes = watcher.rated(watcher.named).series.attributes
                self._metrics.record(names.SESSION_DURATION, nanoseconds / 1e9, attributes)
        if was_last:
            self._flusher.request()

    def finish(self) -> None:
        """At the end of the process: whatever is still open will not be finished any more."""
        # The flusher first: no thread may be started any more at this point, and the SDK flushes by itself.
        self._flusher.stop()
        self._close_let_go()
        with self._live_lock:
            live = list(self._live)
        for watcher in live:
            watcher.closed()

    def _before_collection(self) -> None:
        self._close_let_go()
        self.count_all()

    def count_all(self) -> None:
        """Add all usages that wait for it to the totals."""
        while self._to_count:
            self._count_next(_MOST_TO_COUNT)

    def _count_next(self, most: int) -> None:
        """Add the oldest usages to the totals, on the thread that collects them: the call need not wait for it.

        The ledger has them already. Only where nobody collects, the call counts a few now and then.
        """
        taken: list[tuple[Series, Metered, Priced, bool]] = []
        # Another thread may have taken the last one.
        with suppress(IndexError):
            while len(taken) < most:
                taken.append(self._to_count.popleft())
        try:
            with self._metrics.lock:
                count_usages((series, item.usage, priced, assumed) for series, item, priced, assumed in taken)
            for series, item, _, _ in taken:
                self._measure(series, item)
        except Exception:  # noqa: BLE001 - whose thread this is we do not know
            self.containment.failed("counting")

    def _close_let_go(self) -> None:
        """Close the books of sockets that were freed without an end."""
        while self.let_go:
            try:
                watcher = self.let_go.popleft()
            except IndexError:
                # Another thread took the last one between the two lines above.
                return
            watcher.closed()

    def abandon(self) -> None:
        """Stop watching open sessions: they go on without us, so they are neither open nor lost in our books."""
        # Those that were freed before have ended, and what they left unfinished is lost.
        self._close_let_go()
        with self._live_lock:
            live = list(self._live)
            self._live.clear()
        for watcher in live:
            watcher.abandon()
            if self._counts:
                self._move(watcher, None)
        self.count_all()
        self._metrics.before_collection = lambda: None
        if self._ledger is not None:
            self._ledger.close()

    def begin_anew(self) -> None:
        """In a forked child: count from zero, in a ledger file of its own. It may go on reading inherited sockets."""
        self._live_lock = threading.RLock()
        for watcher in list(self._live):
            watcher.begin_anew()
        self._live = WeakSet()
        self.let_go.clear()
        self._to_count.clear()
        self.sessions.begin_anew()
        self._flusher.begin_anew()
        if self._ledger is not None:
            self._ledger.begin_anew()

    def take(self, watcher: Watcher, learned: Sequence[Learned]) -> None:
        """Account for what a message told."""
        for item in learned:
            if isinstance(item, Metered):
                self._metered(watcher, item)
            elif isinstance(item, ModelNamed):
                self._named(watcher, item.named)
            elif isinstance(item, Unread):
                self._metrics.count_error(item.fault)
            elif self._counts:
                self._observed(watcher, item)

    def rate(self, watcher: Watcher, named: Named) -> Rated:
        """Find the sku of these names, the totals to add to and the form of the records."""
        endpoint = watcher.endpoint
        resolved = self._naming.resolve(endpoint, named)
        model = resolved.sku.model if resolved.sku else named.said or named.requested
        found: dict[str, str | int | None] = {
            **{key: self._metrics.bounded(key, value[:_LONGEST_LABEL]) for key, value in watcher.attributes.items()},
            names.OPERATION_NAME: "speech_to_text" if named.transcription else "realtime_inference",
            names.PROVIDER_NAME: str(endpoint.provider),
            names.REQUEST_MODEL: self._bounded(names.REQUEST_MODEL, named.requested),
            names.RESPONSE_MODEL: self._bounded(names.RESPONSE_MODEL, named.said),
            names.ACCOUNT: self._account_of(endpoint),
            names.MODEL: self._bounded(names.MODEL, model),
            names.VERSION: resolved.sku.version if resolved.sku else None,
            names.SCOPE: None if resolved.scope is None else str(resolved.scope),
            names.SERVER_ADDRESS: endpoint.server,
            names.SERVER_PORT: endpoint.port,
        }
        series = self._metrics.series({key: value for key, value in found.items() if value is not None})
        form = RecordForm(
            endpoint,
            named,
            resolved,
            account=self._account_of(endpoint),
            attributes=watcher.attributes,
            origin=watcher.origin,
        )
        return Rated(resolved, series, form)

    def _move(self, watcher: Watcher, series: Series | None) -> None:
        """Count an open socket under `series` rather than where it stood: its model may only now have been named."""
        before, watcher.counted_under = watcher.counted_under, series
        if before is series:
            return
        with self._metrics.lock:
            if before is not None:
                before.active = (before.active or 0) - 1
            if series is not None:
                series.active = (series.active or 0) + 1

    def _bounded(self, attribute: str, name: str | None) -> str | None:
        """Return a name as a metric may carry it: a gateway can make up any number of them."""
        return None if name is None else self._metrics.bounded(attribute, name)

    def _account_of(self, endpoint: Endpoint) -> str | None:
        return endpoint.account or self._account

    def _named(self, watcher: Watcher, named: Named) -> None:
        """Let all series of a model appear with 0, so that their first increment is seen as one."""
        rated = watcher.rated(named)
        series = rated.series
        prices = rated.prices_at(time.time_ns(), self._book)
        if isinstance(prices, Reason):
            self._advise(watcher.endpoint, named, rated.resolved, prices)
        # Translations report no usage, so that a cost of 0 would say what nobody knows.
        if not self._counts or watcher.endpoint.service is Service.TRANSLATION:
            return
        kind = Kind.LIVE if watcher.endpoint.service is Service.LIVE else Kind.RESPONSE
        with self._metrics.lock:
            let_appear(series, Kind.TRANSCRIPTION if named.transcription else kind, prices)
        # In a forked child a socket may go on that is the parent's to count as open.
        if not named.transcription and watcher.is_open:
            self._move(watcher, series)

    def _advise(self, endpoint: Endpoint, named: Named, resolved: Resolved, reason: Reason) -> None:
        """Say once for this name what keeps its usage from having a price, and what to set."""
        name, sentence = advice(endpoint, named, resolved, reason)
        self.containment.say_of_name_once(f"{reason} {endpoint.provider} {name}", "%s", sentence)

    def _metered(self, watcher: Watcher, item: Metered) -> None:
        rated = watcher.rated(item.named)
        resolved, series = rated.resolved, rated.series
        priced = price(item.usage.amounts, rated.prices_at(item.at, self._book))
        if priced.reasons and not item.usage.amounts.is_missing:
            for reason in priced.reasons:
                self._advise(watcher.endpoint, item.named, resolved, reason)
        if self._ledger is not None:
            self._write(self._ledger, instant_text(item.at), rated.form.fields(item, priced))
        if self._counts:
            if item.increase is not None:
                # The ledger has the running total, of which counters take what is new.
                usage = replace(item.usage, amounts=Amounts(seconds=item.increase))
                item, priced = replace(item, usage=usage), price(usage.amounts, rated.prices_at(item.at, self._book))
            self._to_count.append((series, item, priced, resolved.scope_assumed))
            if len(self._to_count) > _MOST_TO_COUNT:
                self._count_next(_AT_ONCE)
        watcher.charged(priced)

    def _write(self, ledger: Ledger, at: str, fields: str) -> None:
        if (error := ledger.append(at, fields)) is not None:
            self._metrics.count_error("ledger")
            self.containment.say_once(
                "ledger",
                "the ledger in %s cannot be written (%s): usage is missing from it",
                ledger.folder,
                error.strerror,
            )

    def _measure(self, series: Series, item: Metered) -> None:
        if item.usage.kind is not Kind.RESPONSE or item.usage.reported is Reported.LOST:
            return
        attributes = series.attributes
        if item.usage.status == "failed":
            attributes = {**attributes, names.ERROR_TYPE: "failed"}
        if (totals := item.usage.amounts.totals) is not None:
            self._metrics.record(names.OPERATION_INPUT_TOKENS, totals[0], attributes)
            self._metrics.record(names.OPERATION_OUTPUT_TOKENS, totals[1], attributes)
        if item.seconds is not None:
            self._metrics.record(names.OPERATION_DURATION, item.seconds, attributes)

    def _observed(self, watcher: Watcher, item: FirstOutput | Repeated) -> None:
        if isinstance(item, Repeated):
            series = watcher.rated(item.named).series
            with self._metrics.lock:
                series.add(names.DUPLICATES, (), 1)
            return
        attributes = watcher.rated(item.named).series.attributes
        if item.to_chunk is not None:
            self._metrics.record(names.TIME_TO_FIRST_CHUNK, item.to_chunk, attributes)
        if item.to_audio is not None:
            self._metrics.record(names.TIME_TO_FIRST_AUDIO, item.to_audio, attributes)


_ALL: WeakSet[Metering] = WeakSet()


def _after_fork_in_child() -> None:
    for metering in list(_ALL):
        metering.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
