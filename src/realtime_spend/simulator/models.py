"""The model names the simulated services know, and what each name means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Provider(StrEnum):
    """Whose service the simulator plays for a session."""

    OPENAI = "openai"
    AZURE = "azure.ai.openai"


class Service(StrEnum):
    """Which service of a provider it is; each says things in a way of its own."""

    OPENAI = "openai"
    AZURE = "azure"
    VOICE_LIVE = "voice_live"  # Azure's, billed on tiers of its own
    QWEN = "qwen"  # of Alibaba Cloud, spoken to with an OpenAI client or with dashscope

    @property
    def provider(self) -> Provider:
        """Whose protocol it is: all that is not Azure's is taken for OpenAI's."""
        return Provider.AZURE if self in {Service.AZURE, Service.VOICE_LIVE} else Provider.OPENAI

    @property
    def is_listed(self) -> bool:
        """Whether its models cost what the price lists of OpenAI and Azure OpenAI say."""
        return self in {Service.OPENAI, Service.AZURE}


class Scope(StrEnum):
    """Where a deployment may process its requests; it decides the price."""

    GLOBAL = "global"
    DATAZONE = "datazone"
    REGIONAL = "regional"
    PROVISIONED = "provisioned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What an Azure deployment name stands for."""

    model: str
    version: str | None = None
    scope: Scope = Scope.GLOBAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Sku:
    """Which model of which service a usage is billed as."""

    provider: Provider
    model: str
    version: str | None
    scope: Scope
    listed: bool = True
    """Whether the price lists are about it; a model of the same name on another service is not."""


# Model family -> the dates of its snapshots, newest last.
SNAPSHOTS: dict[str, tuple[str, ...]] = {
    "gpt-4o-realtime-preview": ("2024-10-01", "2024-12-17", "2025-06-03"),
    "gpt-4o-mini-realtime-preview": ("2024-12-17",),
    "gpt-realtime": ("2025-08-28",),
    "gpt-realtime-1.5": ("2026-02-23",),
    "gpt-realtime-2": (),
    "gpt-realtime-2.1": (),
    "gpt-realtime-2.1-mini": (),
    "gpt-realtime-mini": ("2025-10-06", "2025-12-15"),
    "gpt-4o-transcribe": (),
    "gpt-4o-transcribe-diarize": (),
    "gpt-4o-mini-transcribe": ("2025-03-20", "2025-12-15"),
    "gpt-transcribe": (),
    "gpt-live-transcribe": (),
    "gpt-realtime-whisper": (),
    "whisper-1": (),
}

# The snapshot an alias stood for when the beta protocol still told it. Not always the newest: 4o-preview stayed behind.
_BETA_SNAPSHOT = {family: dates[-1] for family, dates in SNAPSHOTS.items() if dates} | {
    "gpt-4o-realtime-preview": "2024-12-17",
}

_REASONING = frozenset({"gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini"})
_BY_DURATION = frozenset({"whisper-1", "whisper", "gpt-realtime-whisper", "gpt-transcribe", "gpt-live-transcribe"})

_NAMES = {f"{family}-{date}": (family, date) for family, dates in SNAPSHOTS.items() for date in dates}
# Azure's price list calls the model `whisper`, whatever name it was deployed from.
_ON_AZURE = {"whisper-1": "whisper"}


def family_and_version(name: str) -> tuple[str, str | None]:
    """Split a model name into its family and the date of its snapshot.

    Names match exactly. One that is not known is its own family: such a model has tokens, but no price.
    """
    return _NAMES.get(name, (name, None))


def azure_family(model: str) -> str:
    """Say what Azure's price list calls a model."""
    return _ON_AZURE.get(model, model)


def parse_deployment(text: str) -> tuple[str, Deployment]:
    """Read `NAME=MODEL[@VERSION][:SCOPE]`, as a command line has it.

    Raises:
        ValueError: it is none; the message says how to write it.
    """
    name, _, rest = text.partition("=")
    model, _, scope = rest.partition(":")
    family, _, version = model.partition("@")
    if not name or not family or scope not in ("", *Scope):
        raise ValueError(
            f"{text!r} is no deployment; write NAME=MODEL[@VERSION][:SCOPE], SCOPE one of {', '.join(Scope)}"
        )
    return name, Deployment(model=family, version=version or None, scope=Scope(scope) if scope else Scope.GLOBAL)


def full_name(model: str, version: str | None) -> str:
    """Join a family and a date the way services print a snapshot."""
    return f"{model}-{version}" if version else model


def beta_name(name: str) -> str:
    """Say what the beta protocol answers to a client that asked for `name`: the snapshot, where there is one."""
    return full_name(name, _BETA_SNAPSHOT.get(name))


def reasons(model: str) -> bool:
    """Whether responses of this model report reasoning tokens inside their text."""
    return model in _REASONING


def is_billed_by_duration(model: str) -> bool:
    """Whether a transcription model is billed by time and not by tokens."""
    return model in _BY_DURATION
