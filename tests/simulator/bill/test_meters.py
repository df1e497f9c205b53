"""The simulator's own names of Azure's meters, written down apart from those that the product reads."""

from __future__ import annotations

import pytest

from realtime_spend.simulator.bill.meters import NoMeterError, meter_name
from realtime_spend.simulator.models import Scope

_G, _D, _R = Scope.GLOBAL, Scope.DATAZONE, Scope.REGIONAL


# As Azure's public price list prints them.
@pytest.mark.parametrize(
    ("model", "version", "scope", "component", "name", "unit"),
    [
        ("gpt-realtime", "2025-08-28", _G, "audio.input", "gpt rt aud 0828 Inp glbl Tokens", "1K"),
        ("gpt-realtime", "2025-08-28", _D, "audio.output", "gpt rt aud 0828 Outp DZone Tokens", "1K"),
        ("gpt-realtime", "2025-08-28", _D, "audio.cached_input", "gpt rt aud 0828 cchd Inp DZn Tokens", "1K"),
        ("gpt-realtime", "2025-08-28", _R, "text.cached_input", "gpt rt txt 0828 cchd Inp rgnl Tokens", "1K"),
        ("gpt-realtime", "2025-08-28", _R, "image.input", "gpt rt img 0828 Inp rgnl Tokens", "1K"),
        ("gpt-realtime-mini", "2025-10-06", _D, "text.output", "gpt rt txt mini Outp DZone Tokens", "1K"),
        ("gpt-realtime-mini", "2025-12-15", _G, "audio.input", "gpt rt aud mn in gl 1215 1M Tokens", "1M"),
        ("gpt-realtime-mini", "2025-12-15", _D, "text.cached_input", "gpt rt txt mn cd in DZ 1215 1M Tokens", "1M"),
        ("gpt-realtime-mini", "2025-12-15", _R, "audio.output", "gpt rt aud mn out rg 1215 1M Tokens", "1M"),
        ("gpt-realtime-1.5", "2026-02-23", _D, "audio.output", "gpt rt 1.5 aud opt Dz 1M Tokens", "1M"),
        ("gpt-realtime-2.1", None, _D, "audio.cached_input", "gpt-realtime-2.1 Audio cd inp DZ 1M Tokens", "1M"),
        ("gpt-realtime-2.1-mini", None, _G, "text.output", "gpt-realtime-2.1-mini Text opt Gl 1M Tokens", "1M"),
        ("gpt-4o-realtime-preview", "2024-12-17", _R, "audio.output", "gpt-4o-rt-aud-1217 Outp regnl Tokens", "1K"),
        ("gpt-4o-mini-realtime-preview", "2024-12-17", _G, "text.input", "gpt4omini-rt-txt1217 Inp glbl Tokens", "1K"),
        ("gpt-4o-transcribe", None, _D, "text.output", "gpt-4o-transcribe-txt-out-dz Tokens", "1K"),
        ("gpt-4o-mini-transcribe", None, _G, "audio.input", "gpt-4o-mini-transcribe-aud-inp-glbl Tokens", "1K"),
        ("gpt-4o-mini-transcribe", "2025-12-15", _G, "audio.input", "gpt4o mn trscb aud in gl 1215 1M Tokens", "1M"),
        ("gpt-4o-transcribe-diarize", None, _D, "audio.input", "gpt 4o tcrb d aud inp dz Tokens", "1K"),
        ("whisper", None, _R, "audio.duration", "Speech-to-Text-Batch-Whisper-regnl Unit", "1 Hour"),
        ("gpt-realtime-whisper", None, _G, "audio.duration", "gpt-realtime-whisper Opt Gl Unit", "1 Hour"),
    ],
)
def test_meters_are_named_as_azure_names_them(  # noqa: PLR0917 - a row of the table above
    model: str, version: str | None, scope: Scope, component: str, name: str, unit: str
) -> None:
    meter = meter_name(model, version, scope, component)
    assert (meter.name, meter.unit) == (name, unit)


@pytest.mark.parametrize(
    ("model", "version", "scope", "component"),
    [
        ("gpt-realtime", None, _G, "audio.input"),
        ("gpt-realtime", "2025-08-28", Scope.PROVISIONED, "audio.input"),
        ("gpt-realtime", "2025-08-28", _G, "audio.duration"),
        ("whisper", None, _G, "audio.input"),
        ("gpt-4o-transcribe", None, _G, "audio.cached_input"),
        ("my-model", None, _G, "audio.input"),
    ],
)
def test_what_azure_does_not_sell_has_no_meter(model: str, version: str | None, scope: Scope, component: str) -> None:
    with pytest.raises(NoMeterError, match=model):
        meter_name(model, version, scope, component)
