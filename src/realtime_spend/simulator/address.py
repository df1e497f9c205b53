"""Which service, dialect and model a URL asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from realtime_spend.simulator.models import (
    Deployment,
    Provider,
    Scope,
    Service,
    Sku,
    azure_family,
    beta_name,
    family_and_version,
    full_name,
)
from realtime_spend.simulator.wire import Dialect

OPENAI_PATH = "/v1/realtime"
AZURE_PREVIEW_PATH = "/openai/realtime"
AZURE_GA_PATH = "/openai/v1/realtime"
VOICE_LIVE_PATH = "/voice-live/realtime"
VOICE_AGENT_PATH = "/voice-agent"
# What the names of Voice Live's tiers begin with.
TIERS = "voice-live-"
QWEN_PATH = "/api-ws/v1/realtime"

FindDeployment: TypeAlias = Callable[[str], Deployment | None]


class RefusedError(Exception):
    """A connection the service would not accept; it becomes an HTTP answer with a JSON error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a connection's URL and headers say."""

    service: Service
    dialect: Dialect
    requested: str | None = None
    """The model or the deployment that was asked for; `None` for a transcription session, or where an agent decides."""
    is_transcription: bool = False
    call_id: str | None = None
    """The call a sideband attaches to."""

    @property
    def provider(self) -> Provider:
        """Whose service it is."""
        return self.service.provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model a session has, for the bill and in the session's own words."""

    sku: Sku
    said: str
    """The name in `session.model`."""


def read_address(path: str, query: Mapping[str, str], beta_header: str) -> Address:
    """Read a connection's URL.

    Raises:
        RefusedError: the URL names neither a model, a call nor a transcription session.
    """
    service = _service_at(path)
    beta = path == AZURE_PREVIEW_PATH or not service.is_listed
    beta = beta or (service is Service.OPENAI and "realtime=v1" in beta_header)
    dialect = Dialect.BETA if beta else Dialect.GA
    if path == AZURE_PREVIEW_PATH and "api-version" not in query:
        raise RefusedError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
    if call_id := query.get("call_id"):
        return Address(service=service, dialect=dialect, call_id=call_id)
    if query.get("intent") == "transcription":
        return Address(service=service, dialect=dialect, is_transcription=True)
    requested = query.get("deployment" if path == AZURE_PREVIEW_PATH else "model")
    if not requested and service is not Service.VOICE_LIVE:
        raise RefusedError(400, "missing_model", "You must provide a model parameter.")
    return Address(service=service, dialect=dialect, requested=requested)


def _service_at(path: str) -> Service:
    if path.startswith((VOICE_LIVE_PATH, VOICE_AGENT_PATH)):
        return Service.VOICE_LIVE
    if path == QWEN_PATH:
        return Service.QWEN
    return Service.OPENAI if path == OPENAI_PATH else Service.AZURE


def sku_of(service: Service, name: str, find: FindDeployment) -> Sku | None:
    """Say what a model name, or on Azure a deployment name, is billed as; `None` when nothing is deployed under it."""
    if not service.is_listed:
        return Sku(provider=service.provider, model=name, version=None, scope=Scope.GLOBAL, listed=False)
    provider = service.provider
    if service is Service.AZURE:
        found = find(name)
        if found is None:
            return None
        return Sku(provider=provider, model=azure_family(found.model), version=found.version, scope=found.scope)
    model, version = family_and_version(name)
    return Sku(provider=provider, model=model, version=version, scope=Scope.GLOBAL)


def identify(address: Address, requested: str, find: FindDeployment) -> Identity:
    """Find the session's model and the name the service gives it back as.

    OpenAI GA echoes the client's name, the beta protocol answers with a snapshot, Azure GA with the model's alias, and
    Voice Live names the kind of its own deployment too.

    Raises:
        RefusedError: nothing is deployed under that name.
    """
    if address.service is Service.OPENAI and address.dialect is Dialect.BETA:
        requested = beta_name(requested)
    if address.service is Service.VOICE_LIVE:
        tier = find(requested)
        requested = f"{requested}-global-standard"
        if tier is not None and tier.model.startswith(TIERS):
            # It bills by tier, which no session says.
            return Identity(
                sku=Sku(provider=address.provider, model=tier.model, version=None, scope=tier.scope), said=requested
            )
    sku = sku_of(address.service, requested, find)
    if sku is None:
        raise RefusedError(
            404,
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. (Simulator: name it in SimulatorOptions.deployments "
            "or set accept_any_deployment.)",
        )
    if address.service is not Service.AZURE:
        return Identity(sku=sku, said=requested)
    dated = address.dialect is Dialect.BETA
    return Identity(sku=sku, said=full_name(sku.model, sku.version) if dated else sku.model)
