"""Pricing recorded usage again: by the cards and the deployments of now, at the rates that held at its own instant.

A record has the numbers of its usage verbatim, so that it goes the road that it went when it was new: read, named,
priced. What it was named by is only half known, since a record keeps the model that the names stood for:

- A record that was priced says its sku. Only a deployment that the user says something of changes it. Its name may be
  the one in the URL, which is on record, or the one that the session said, which is not: it is taken for that of the
  sku where a model has one name alone. Other names of the user's map that it may have been are `doubtful`.
- One that was not has the name as the service said it, which another card may list.
- On Azure that name may be a deployment's, or a model's on Voice Live, which bills on meters of its own. Unless the
  record says which service it was, only the user's deployments can name its model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from realtime_spend.core.endpoints import Endpoint, Service
from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.naming import Named, Naming, Resolved
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Reason
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.usage import Amounts, Kind, Reported, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from realtime_spend.core.naming import Deployment
    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.rates import RateBook

_UNSEEN = (Reported.MISSING, Reported.LOST)


class Recorded(Protocol):
    """What a ledger record says that its price depends on, in the words of the ledger."""

    @property
    def at(self) -> datetime:
        """The aware instant of the event."""

    @property
    def kind(self) -> str:
        """What was metered."""

    @property
    def provider(self) -> str:
        """Who bills it."""

    @property
    def server(self) -> str:
        """The host that the session was held with."""

    @property
    def service(self) -> str | None:
        """What kind of session it was; None where the record does not say."""

    @property
    def requested_model(self) -> str | None:
        """The name in the URL, or of the transcription model: a deployment's on Azure."""

    @property
    def model(self) -> str | None:
        """The family, or the name as the service said it where that could not be resolved."""

    @property
    def version(self) -> str | None:
        """The snapshot, where it was said."""

    @property
    def scope(self) -> str | None:
        """Where the deployment may run its work, where that is known."""

    @property
    def region(self) -> str | None:
        """The region, where it is known."""

    @property
    def rate_card(self) -> str | None:
        """The card that it was priced with; None where it had no price."""

    @property
    def reported(self) -> Reported:
        """How the usage is known."""

    @property
    def raw(self) -> Any:
        """The numbers of the usage object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A recorded usage with the names it was resolved by and the price that it has now."""

    usage: Usage
    endpoint: Endpoint
    named: Named
    resolved: Resolved
    priced: Priced
    doubtful: frozenset[str] = frozenset()
    """Names of the user's map that the session may have said, which nobody knows: they change nothing."""


class Repricer:
    """Prices recorded usage by the cards of `book` and by what the user says of his `deployments`."""

    def __init__(self, book: RateBook, deployments: Mapping[str, Deployment] | None = None) -> None:
        self._book = book
        self._deployments = deployments or {}
        self._naming = Naming(book, self._deployments)
        # A ledger has many records of few kinds.
        self._known_makers: dict[tuple[Endpoint, Sku | None], frozenset[str]] = {}
        self._known_names: dict[tuple[Provider, str | None, str | None], frozenset[str]] = {}

    def reprice(self, recorded: Recorded) -> Repriced | None:
        """Return the usage with its price of now; None if the record does not hold what it takes to price it."""
        try:
            kind, endpoint = Kind(recorded.kind), _endpoint(recorded)
        except ValueError:
            # A word of a later version of the ledger.
            return None
        amounts = _amounts(recorded, kind)
        if amounts is None or kind is Kind.LIVE:
            # Live records are running totals: no instant is theirs, so neither is a rate.
            return None
        named, doubtful = _named(recorded, kind, endpoint), frozenset[str]()
        is_settled = _is_settled(recorded) or self._has_been_mapped(recorded, endpoint, named)
        if is_settled and not named.transcription:
            said, doubtful = self._said(recorded, endpoint)
            named = replace(named, said=said)
        resolved = self._resolve(recorded, endpoint, named, is_settled=is_settled)
        prices = (
            self._book.prices(resolved.sku, recorded.at)
            if resolved.sku is not None
            else resolved.reason or Reason.MODEL_NOT_NAMED
        )
        usage = Usage(kind=kind, id=None, status=None, reported=recorded.reported, amounts=amounts)
        return Repriced(
            usage=usage,
            endpoint=endpoint,
            named=named,
            resolved=resolved,
            priced=price(amounts, prices),
            doubtful=doubtful,
        )

    def _resolve(self, recorded: Recorded, endpoint: Endpoint, named: Named, *, is_settled: bool) -> Resolved:
        deployment = self._deployment(named)
        if is_settled and (deployment is None or deployment.model is None):
            return _as_recorded(recorded, endpoint, deployment)
        if deployment is None and recorded.service is None and endpoint.model_is_deployment:
            return Resolved(
                sku=None,
                reason=Reason.MODEL_NOT_NAMED,
                scope=endpoint.scope,
                region=recorded.region,
                scope_assumed=False,
            )
        resolved = self._naming.resolve(endpoint, named)
        region = _region(recorded, deployment)
        sku = resolved.sku
        if sku is not None:
            # Nobody says another version, so it is the one that the session said.
            version = sku.version or (recorded.version if sku.model == recorded.model else None)
            sku = replace(sku, version=version, region=region)
        return replace(resolved, sku=sku, region=region)

    def _said(self, recorded: Recorded, endpoint: Endpoint) -> tuple[str | None, frozenset[str]]:
        """Return the name of the map that a session with this sku said, where that is certain, and those it may be."""
        if not self._deployments or recorded.requested_model in self._deployments:
            # As it goes live, the name in the URL comes first.
            return None, frozenset()
        names = self._names(recorded, endpoint)
        listed = names.intersection(self._deployments)
        makers = self._makers(recorded, endpoint)
        if makers:
            # By one of these it has come out as it is, and does so again.
            return None, listed - makers
        if listed and len(names) == 1:
            return next(iter(listed)), frozenset()
        foreign = {
            name
            for name in self._deployments
            if endpoint.model_is_deployment
            and (name == recorded.model or self._book.listed(endpoint.provider, name) is None)
        }
        return None, listed | foreign

    def _makers(self, recorded: Recorded, endpoint: Endpoint) -> frozenset[str]:
        """Return the names of the map by which a session that said them comes out as it is on record."""
        sku = _as_recorded(recorded, endpoint, None).sku
        found = self._known_makers.get((endpoint, sku))
        if found is None:
            said = {name: Named(requested=None, said=name) for name in self._deployments}
            found = frozenset(name for name, named in said.items() if self._naming.resolve(endpoint, named).sku == sku)
            self._known_makers[endpoint, sku] = found
        return found

    def _has_been_mapped(self, recorded: Recorded, endpoint: Endpoint, named: Named) -> bool:
        """Whether what looks like a name that the session said is the model that the map has for another name."""
        if named.transcription or named.said is None or recorded.requested_model in self._deployments:
            return False
        if recorded.service is None and endpoint.model_is_deployment:
            return False
        return bool(self._makers(recorded, endpoint))

    def _names(self, recorded: Recorded, endpoint: Endpoint) -> frozenset[str]:
        """Return every name that cards list for the model and the version of a record."""
        key = provider, model, version = endpoint.provider, recorded.model, recorded.version
        if key not in self._known_names:
            names = {name for card in self._book.cards if card.provider is provider for name in card.names}
            found = ((name, self._book.listed(provider, name)) for name in names)
            self._known_names[key] = frozenset(
                name for name, listed in found if listed and (listed.model, listed.version) == (model, version)
            )
        return self._known_names[key]

    def _deployment(self, named: Named) -> Deployment | None:
        for name in (named.requested, named.said):
            if name is not None and name in self._deployments:
                return self._deployments[name]
        return None


def _endpoint(recorded: Recorded) -> Endpoint:
    """Return the endpoint as far as prices depend on it; ValueError for a word that we do not know."""
    return Endpoint(
        provider=Provider(recorded.provider),
        server=recorded.server,
        port=None,
        service=Service(recorded.service or Service.REALTIME),
        requested_model=recorded.requested_model,
        scope=None if recorded.scope is None else Scope(recorded.scope),
    )


def _amounts(recorded: Recorded, kind: Kind) -> Amounts | None:
    if recorded.reported in _UNSEEN:
        return Amounts()
    amounts = read_amounts(recorded.raw, text_output=kind is Kind.TRANSCRIPTION)
    # Its quantities are known, but not what they were read from: it keeps the price it has.
    return None if amounts.is_missing else amounts


def _is_settled(recorded: Recorded) -> bool:
    """Whether the names were resolved: only a sku has a price, or a version."""
    return recorded.rate_card is not None or recorded.version is not None


def _named(recorded: Recorded, kind: Kind, endpoint: Endpoint) -> Named:
    """Return the names that the usage came under, as far as the record tells them."""
    requested = recorded.requested_model
    if kind is Kind.TRANSCRIPTION:
        name = requested or recorded.model
        return Named(requested=name, said=name, transcription=True)
    # `model` is what the service said, else what was requested: on Azure that is a deployment, which proves no model.
    is_said = not _is_settled(recorded) and not (endpoint.model_is_deployment and recorded.model == requested)
    return Named(requested=requested, said=recorded.model if is_said else None)


def _as_recorded(recorded: Recorded, endpoint: Endpoint, deployment: Deployment | None) -> Resolved:
    """Return the sku of the record, with what the user says of the deployment beside its model."""
    scope = (deployment.scope if deployment else None) or endpoint.scope
    region = _region(recorded, deployment)
    version = (deployment.version if deployment else None) or recorded.version
    sku = None
    if recorded.model is not None:
        sku = Sku(provider=endpoint.provider, model=recorded.model, version=version, scope=scope, region=region)
    reason = Reason.MODEL_NOT_NAMED if sku is None else None
    return Resolved(sku=sku, reason=reason, scope=scope, region=region, scope_assumed=scope is None)


def _region(recorded: Recorded, deployment: Deployment | None) -> str | None:
    if deployment is None:
        return recorded.region
    # Who names a scope anew names its region with it.
    return deployment.region if deployment.scope is not None else deployment.region or recorded.region
