"""What the simulator really sent, and what a service would bill for it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.prices import Quantity, add, cost_of, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_spend.simulator.models import Sku

SCHEMA = "realtime-spend/truth/1"


class Kind(StrEnum):
    """What a usage was for."""

    RESPONSE = "response"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    LIVE = "live"


class Said(StrEnum):
    """Whether the client could learn the usage."""

    REPORTED = "reported"
    MISSING = "missing"  # done, but without numbers
    LOST = "lost"  # never done
    HIDDEN = "hidden"  # done with numbers, but nobody who listens is told: `webrtcfilter`


@dataclass(frozen=True, slots=True, kw_only=True)
class SentUsage:
    """One usage at the moment it was sent, or known to be lost."""

    session: str
    sku: Sku
    kind: Kind
    id: str
    status: str
    said: Said
    outcome: str
    quantities: Mapping[str, Quantity]
    cached_split: bool = True

    def as_json(self, at: str) -> dict[str, Any]:
        """Print the usage with what each of its quantities costs."""
        costs = self.costs()
        priced = [cost for cost in costs.values() if cost is not None]
        total = _sum(priced) if priced else None
        return {
            "at": at,
            "session": self.session,
            "provider": self.sku.provider.value,
            "kind": self.kind.value,
            "id": self.id,
            "status": self.status,
            "usage": self.said.value,
            "outcome": self.outcome,
            "model": self.sku.model,
            "version": self.sku.version,
            "scope": self.sku.scope.value,
            "quantities": {component: _quantity(of) for component, of in self.quantities.items()},
            "costs": {component: _money(cost) for component, cost in costs.items()},
            "cost": _money(total),
            "cached_split": self.cached_split,
        }

    def costs(self) -> dict[str, Decimal | None]:
        """Price each quantity; `None` where the model has no price."""
        return {component: cost_of(self.sku, component, of) for component, of in self.quantities.items()}


@dataclass(slots=True, kw_only=True)
class _Total:
    quantity: Quantity = 0
    cost: Decimal | None = None


@dataclass(slots=True, kw_only=True)
class SessionRecord:
    """One session as it went."""

    id: str
    facts: Mapping[str, Any]
    opened_at: str
    closed_at: str | None = None
    ended_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Print the session."""
        times = {"opened_at": self.opened_at, "closed_at": self.closed_at}
        return {"id": self.id, **self.facts, **times, "ended_by": self.ended_by}


@dataclass(slots=True)
class Truth:
    """The record of a simulator; it can be read from any thread while sessions go on."""

    limit: int = 200_000
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sessions: list[SessionRecord] = field(default_factory=list)
    _usages: list[tuple[str, SentUsage]] = field(default_factory=list)
    _totals: dict[tuple[str, str, str | None, str], _Total] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _cost: Decimal = Decimal(0)

    def session_opened(self, session_id: str, facts: Mapping[str, Any]) -> SessionRecord:
        """Record that a session began; hand the record back to `session_closed`."""
        record = SessionRecord(id=session_id, facts=facts, opened_at=_now())
        with self._lock:
            self._counts["sessions"] += 1
            if len(self._sessions) < self.limit:
                self._sessions.append(record)
        return record

    def session_closed(self, record: SessionRecord, ended_by: str) -> None:
        """Record that a session ended, and who ended it."""
        with self._lock:
            record.closed_at = _now()
            record.ended_by = ended_by

    def count(self, what: str, by: int = 1) -> None:
        """Count something that is no usage of its own."""
        with self._lock:
            self._counts[what] += by

    def sent(self, usage: SentUsage) -> None:
        """Record a usage; to be called once a usage, however often its event is sent."""
        with self._lock:
            self._counts[f"{usage.kind}s"] += 1
            self._counts[usage.said] += 1
            if len(self._usages) < self.limit:
                self._usages.append((_now(), usage))
            else:
                self._counts["beyond_limit"] += 1
            costs = usage.costs()
            if None in costs.values():
                self._counts["unpriced"] += 1
            for component, quantity in usage.quantities.items():
                self._add_to_totals(usage.sku, component, quantity, costs[component])

    def _add_to_totals(self, sku: Sku, component: str, quantity: Quantity, cost: Decimal | None) -> None:
        key = (sku.provider.value, sku.model, sku.version, component)
        total = self._totals.setdefault(key, _Total())
        both = isinstance(total.quantity, int) and isinstance(quantity, int)
        total.quantity = total.quantity + quantity if both else add(Decimal(total.quantity), Decimal(quantity))
        if cost is not None:
            total.cost = add(total.cost or Decimal(0), cost)
            self._cost = add(self._cost, cost)

    def as_json(self) -> dict[str, Any]:
        """Print all that is known so far; see the documentation of the package for the shape."""
        with self._lock:
            return {
                "schema": SCHEMA,
                "sessions": [record.as_json() for record in self._sessions],
                "usages": [usage.as_json(at) for at, usage in self._usages],
                **self._sums(),
            }

    def totals_as_json(self) -> dict[str, Any]:
        """Print the same without each single session and usage, which can be many."""
        with self._lock:
            return {"schema": SCHEMA, **self._sums()}

    def _sums(self) -> dict[str, Any]:
        totals = sorted(self._totals.items(), key=lambda row: tuple(part or "" for part in row[0]))
        return {
            "totals": [_total_row(key, total) for key, total in totals],
            "cost": plain(self._cost),
            "counts": {name: self._counts[name] for name in COUNTED},
        }


COUNTED = (
    "sessions", "responses", "transcriptions", "translations", "lives", "reported", "missing", "lost",
    "unpriced", "repeats", "transcriptions_failed", "transcriptions_unsent", "beyond_limit", "hidden",
)  # fmt: skip


def _total_row(key: tuple[str, str, str | None, str], total: _Total) -> dict[str, Any]:
    provider, model, version, component = key
    modality, _, part = component.partition(".")
    return {
        "provider": provider,
        "model": model,
        "version": version,
        "modality": modality,
        "component": part,
        "quantity": _quantity(total.quantity),
        "cost": _money(total.cost),
    }


def _sum(amounts: list[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = add(total, amount)
    return total


def _quantity(quantity: Quantity) -> int | str:
    return plain(quantity) if isinstance(quantity, Decimal) else quantity


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
