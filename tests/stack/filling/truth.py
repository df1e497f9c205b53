"""What the exact queries must answer, worked out from the usages alone: a small evaluator over rows of truth."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from grafana.names import label, series
from tests.stack.filling.syntax import COMPARISONS, Node, bare

from realtime_spend.simulator.models import Provider, Scope, Sku
from realtime_spend.simulator.prices import cost_of
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from realtime_spend.estimates.ledger import Entry

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]


class NotATotalError(Exception):
    """The query asks for something that usages alone do not tell."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one usage adds to one series."""

    at: float
    metric: str
    labels: Mapping[str, str]
    amount: Decimal


# --- From usages to rows ----------------------------------------------------------------------------------------------


def rows_of(entry: Entry, job: str) -> Iterator[Row]:
    """What a usage adds to our metrics, by their names in Prometheus."""
    common = {
        "job": job,
        names.OPERATION_NAME: "speech_to_text" if entry.kind == "transcription" else "realtime_inference",
        names.PROVIDER_NAME: entry.provider,
        names.REQUEST_MODEL: entry.requested_model,
        names.ACCOUNT: entry.account,
        names.MODEL: entry.model or entry.requested_model,
        names.VERSION: entry.version,
        names.SCOPE: entry.scope,
        **entry.attributes,
    }

    def row(metric: str, amount: Decimal | int, **own: str | None) -> Row:
        said = common | {getattr(names, name): value for name, value in own.items()}
        labels = {label(key): value for key, value in said.items() if value is not None}
        return Row(entry.at.timestamp(), series(metric), labels, Decimal(amount))

    yield row(names.USAGES, 1, KIND=entry.kind, STATUS=entry.status, USAGE=str(entry.reported))
    if entry.low is not None and entry.high is not None:
        yield row(names.COST_UNCERTAINTY, entry.high - entry.low)
        yield row(names.ERRORS, 1, KIND="cached_not_split")
    if entry.quantities and entry.cost is None:
        yield row(names.UNPRICED, 1, REASON="model_not_listed")
    for part, quantity in entry.quantities.items():
        modality, _, component = part.partition(".")
        if cost := entry.costs[part]:
            yield row(names.COST, cost, MODALITY=modality, COMPONENT=component)
        if component == "duration":
            yield row(names.BILLABLE_DURATION, quantity)
            continue
        counted = names.OUTPUT_TOKENS if component == "output" else names.INPUT_TOKENS
        yield row(counted, quantity, MODALITY=modality)
        if component == "cached_input":
            unsplit = entry.low is not None
            yield row(names.CACHE_READ_TOKENS, quantity, MODALITY="unknown" if unsplit else modality)
            if entry.costs[part] is not None:
                yield row(names.CACHE_SAVINGS, saved(entry, modality, quantity), MODALITY=modality)


def saved(entry: Entry, modality: str, quantity: Decimal) -> Decimal:
    """What cached tokens would have cost more as plain input, by the simulated service's own list."""
    sku = Sku(
        provider=Provider(entry.provider),
        model=str(entry.model),
        version=entry.version,
        scope=Scope(entry.scope or "global"),
    )
    full, cached = (cost_of(sku, f"{modality}.{component}", int(quantity)) for component in ("input", "cached_input"))
    assert full is not None
    assert cached is not None
    return full - cached


# --- From rows to what a query answers --------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Evaluator:
    """Evaluates the syntax tree of an exact query at an instant, over rows instead of samples."""

    rows: Iterable[Row]
    at: float

    def vector(self, node: Node) -> Vector | float:
        node = bare(node)
        known: dict[str, Callable[[Node], Vector | float]] = {
            "aggregation": self._sum,
            "binaryExpr": self._binary,
            "call": self._call,
            "numberLiteral": lambda node: float(node["val"]),
        }
        if node["type"] not in known:
            raise NotATotalError(node["type"])
        return known[node["type"]](node)

    def _sum(self, node: Node) -> Vector:
        if node["op"] != "sum" or node["without"]:
            raise NotATotalError(node["op"])
        totals: defaultdict[Labels, float] = defaultdict(float)
        inner = self.vector(node["expr"])
        assert isinstance(inner, dict)
        for labels, value in inner.items():
            totals[frozenset(pair for pair in labels if pair[0] in node["grouping"])] += value
        return totals

    def _binary(self, node: Node) -> Vector | float:
        if (selector := growth_of(node)) is not None:
            return self._growth(selector)
        left, right = self.vector(node["lhs"]), self.vector(node["rhs"])
        matching = node["matching"] or {}
        if matching.get("on") or matching.get("labels"):
            raise NotATotalError("matching on some labels")
        if node["op"] == "or" and isinstance(left, dict) and isinstance(right, dict):
            return right | left
        if node["op"] in COMPARISONS:
            if node["op"] != ">" or not isinstance(left, dict) or isinstance(right, dict):
                raise NotATotalError(node["op"])
            return {labels: value for labels, value in left.items() if value > right}
        return _calculated(node["op"], left, right)

    def _call(self, node: Node) -> Vector:
        name, arguments = node["func"]["name"], node["args"]
        if name == "vector":
            value = self.vector(arguments[0])
            assert isinstance(value, float)
            return {frozenset(): value}
        if name != "label_replace":
            raise NotATotalError(name)
        inner = self.vector(arguments[0])
        assert isinstance(inner, dict)
        label, replacement, source, pattern = (argument["val"] for argument in arguments[1:])
        return {
            frozenset({**dict(labels), label: replacement}.items())
            if re.fullmatch(pattern, dict(labels).get(source, ""))
            else labels: value
            for labels, value in inner.items()
        }

    def _growth(self, selector: Node) -> Vector:
        end = self.at - selector["offset"] / 1000
        begin = end - selector["range"] / 1000
        totals: defaultdict[Labels, Decimal] = defaultdict(Decimal)
        metric = selector["name"]
        if not any(row.metric == metric for row in self.rows):
            raise NotATotalError(metric)
        for row in self.rows:
            if row.metric == metric and begin < row.at <= end and _matches(row.labels, selector["matchers"]):
                totals[frozenset(row.labels.items())] += row.amount
        return {labels: float(amount) for labels, amount in totals.items()}


def growth_of(node: Node) -> Node | None:
    """The selector whose growth this is by the exact formula, or nothing: it holds the window as well."""
    last, rest = _last_over_time(node["lhs"]), bare(node["rhs"])
    if node["op"] != "-" or last is None or rest["type"] != "binaryExpr" or rest["op"] != "or":
        return None
    before, zero = _last_over_time(rest["lhs"]), bare(rest["rhs"])
    assert before is not None
    assert zero["type"] == "binaryExpr"
    assert (zero["op"], zero["rhs"]["val"], _last_over_time(zero["lhs"])) == ("*", "0", last)
    assert before["matchers"] == last["matchers"]
    # It begins where the window begins, and looks back far enough for a process that paused.
    assert before["offset"] == last["offset"] + last["range"]
    assert before["range"] >= 86_400_000
    return last


def _last_over_time(node: Node) -> Node | None:
    node = bare(node)
    if node["type"] != "call" or node["func"]["name"] != "last_over_time":
        return None
    (selector,) = node["args"]
    assert isinstance(selector, dict)
    return selector


def _calculated(operator: str, left: Vector | float, right: Vector | float) -> Vector | float:
    operations: dict[str, Callable[[float, float], float]] = {
        "/": lambda one, other: one / other if other else float("nan"),
        "*": lambda one, other: one * other,
        "-": lambda one, other: one - other,
        "+": lambda one, other: one + other,
    }
    if operator not in operations:
        raise NotATotalError(operator)
    calculate = operations[operator]
    if isinstance(left, dict) and isinstance(right, dict):
        return {labels: calculate(left[labels], right[labels]) for labels in left.keys() & right.keys()}
    if isinstance(left, dict):
        assert not isinstance(right, dict)
        return {labels: calculate(value, right) for labels, value in left.items()}
    if isinstance(right, dict):
        return {labels: calculate(left, value) for labels, value in right.items()}
    return calculate(left, right)


def _matches(labels: Mapping[str, str], matchers: Iterable[Mapping[str, str]]) -> bool:
    for matcher in matchers:
        if matcher["name"] == "__name__":
            continue
        value, wanted = labels.get(matcher["name"], ""), matcher["value"]
        is_met = value == wanted if "~" not in matcher["type"] else re.fullmatch(wanted, value) is not None
        if is_met == matcher["type"].startswith("!"):
            return False
    return True
