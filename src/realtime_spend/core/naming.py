"""From the names that a URL and a session say to the sku that a price list prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realtime_spend.core.endpoints import Service
from realtime_spend.core.line_items import Scope, Sku
from realtime_spend.core.rates import Listed, ModelKind, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.rates import RateBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a user says of one of his deployments. None fields are left to what the session says."""

    model: str | None = None
    version: str | None = None
    scope: Scope | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The names around one usage: as requested, as the service said it. Both are a deployment's on Azure."""

    requested: str | None
    said: str | None
    transcription: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The sku that names stand for, or the reason why there is none. `scope` is known even without a model."""

    sku: Sku | None
    reason: Reason | None
    scope: Scope | None
    region: str | None
    scope_assumed: bool


class Naming:
    """Resolves names: first the user's deployments, then a name that our cards list, else none."""

    def __init__(self, book: RateBook, deployments: Mapping[str, Deployment] | None = None) -> None:
        self._book = book
        self._deployments = deployments or {}

    def resolve(self, endpoint: Endpoint, named: Named) -> Resolved:
        """Return the sku of a usage.

        A deployment's name in a URL is never taken for a model's. A transcription model's name on Azure is a
        deployment's too, but the service says it in a session event, so one that a card lists is believed.
        """
        deployment = self._deployment(named)
        scope = (deployment.scope if deployment else None) or endpoint.scope
        region = deployment.region if deployment else None
        found = self._model(endpoint, named, deployment)
        if isinstance(found, Reason):
            return Resolved(sku=None, reason=found, scope=scope, region=region, scope_assumed=False)
        sku = Sku(provider=endpoint.provider, model=found.model, version=found.version, scope=scope, region=region)
        return Resolved(sku=sku, reason=None, scope=scope, region=region, scope_assumed=scope is None)

    def _deployment(self, named: Named) -> Deployment | None:
        for name in (named.requested, named.said):
            if name is not None and name in self._deployments:
                return self._deployments[name]
        return None

    def _model(self, endpoint: Endpoint, named: Named, deployment: Deployment | None) -> Listed | Reason:
        is_voice_live = endpoint.service is Service.VOICE_LIVE
        if deployment is not None and deployment.model is not None:
            listed = self._book.listed(endpoint.provider, deployment.model)
            if is_voice_live and listed is not None and listed.kind is not ModelKind.VOICE_LIVE:
                # It bills on tiers of its own: a map does not carry it onto a model's ordinary meters.
                return Reason.OTHER_PRICE_LIST
            model = listed.model if listed else deployment.model
            kind = listed.kind if listed else ModelKind.TRANSCRIPTION if named.transcription else ModelKind.REALTIME
            version = deployment.version or (listed.version if listed else None)
            version = version or self._said_version(endpoint, named, model)
            return _fitting(Listed(model=model, version=version, kind=kind), named)
        if is_voice_live:
            return Reason.OTHER_PRICE_LIST
        name = named.said
        if name is None and (named.transcription or not endpoint.model_is_deployment):
            name = named.requested
        if name is None:
            return Reason.MODEL_NOT_NAMED
        listed = self._book.listed(endpoint.provider, name)
        if listed is None or listed.kind is ModelKind.VOICE_LIVE:
            # The name of a tier is no model's.
            return Reason.MODEL_NOT_LISTED
        if deployment is not None and deployment.version is not None:
            listed = replace(listed, version=deployment.version)
        return _fitting(listed, named)

    def _said_version(self, endpoint: Endpoint, named: Named, model: str) -> str | None:
        listed = self._book.listed(endpoint.provider, named.said) if named.said else None
        return listed.version if listed and listed.model == model else None


def _fitting(listed: Listed, named: Named) -> Listed | Reason:
    """Refuse to price a transcription at a model that does not transcribe: it is billed at another model's rates."""
    if named.transcription and listed.kind is not ModelKind.TRANSCRIPTION:
        return Reason.NOT_A_TRANSCRIPTION_MODEL
    return listed
