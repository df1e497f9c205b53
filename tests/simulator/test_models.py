from __future__ import annotations

import pytest

from realtime_spend.simulator.models import (
    Deployment,
    Scope,
    azure_family,
    beta_name,
    family_and_version,
    is_billed_by_duration,
    parse_deployment,
    reasons,
)


@pytest.mark.parametrize(
    ("name", "family", "version"),
    [
        ("gpt-realtime", "gpt-realtime", None),
        ("gpt-realtime-2025-08-28", "gpt-realtime", "2025-08-28"),
        ("gpt-realtime-mini-2025-12-15", "gpt-realtime-mini", "2025-12-15"),
        ("gpt-realtime-1.5-2026-02-23", "gpt-realtime-1.5", "2026-02-23"),
        ("gpt-realtime-2031-01-01", "gpt-realtime-2031-01-01", None),
        ("my-deployment", "my-deployment", None),
        ("whisper", "whisper", None),
    ],
)
def test_names_are_split_by_exact_match(name: str, family: str, version: str | None) -> None:
    assert family_and_version(name) == (family, version)


def test_the_beta_protocol_answers_an_alias_with_its_snapshot() -> None:
    assert beta_name("gpt-4o-realtime-preview") == "gpt-4o-realtime-preview-2024-12-17"
    assert beta_name("gpt-4o-realtime-preview-2024-10-01") == "gpt-4o-realtime-preview-2024-10-01"
    assert beta_name("gpt-realtime-2") == "gpt-realtime-2"


def test_a_dated_gpt_realtime_is_no_reasoning_model_though_its_name_goes_on_with_a_2() -> None:
    assert reasons("gpt-realtime-2")
    assert not reasons(family_and_version("gpt-realtime-2025-08-28")[0])


def test_some_transcription_models_are_billed_by_time() -> None:
    assert is_billed_by_duration("gpt-transcribe")
    assert not is_billed_by_duration("gpt-4o-transcribe")


def test_a_deployment_is_read_from_a_command_line() -> None:
    assert parse_deployment("voice=gpt-realtime") == ("voice", Deployment(model="gpt-realtime"))
    name, deployment = parse_deployment("voice-prod=gpt-realtime-mini@2025-12-15:datazone")
    assert (name, deployment.model) == ("voice-prod", "gpt-realtime-mini")
    assert (deployment.version, deployment.scope) == ("2025-12-15", Scope.DATAZONE)


@pytest.mark.parametrize("text", ["voice", "=gpt-realtime", "voice=", "voice=gpt-realtime:moon"])
def test_a_deployment_that_cannot_be_read_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write NAME=MODEL"):
        parse_deployment(text)


def test_azure_calls_whisper_by_its_own_name() -> None:
    assert azure_family("whisper-1") == "whisper"
    assert azure_family("gpt-realtime") == "gpt-realtime"
