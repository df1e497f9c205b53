"""Writes the ledger of made-up sessions with the real reader, the real prices and the real writer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from realtime_spend.core.endpoints import recognise
from realtime_spend.core.naming import Deployment, Named, Naming
from realtime_spend.core.pricing import price
from realtime_spend.core.reading import read_usage
from realtime_spend.core.session import Metered
from realtime_spend.core.usage import Amounts, Kind, Reported, Usage
from realtime_spend.sinks.ledger import Ledger
from realtime_spend.sinks.records import RecordForm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from realtime_spend.core.rates import RateBook

_AZURE = recognise("Contoso-Voice.openai.azure.com", 443, "/openai/v1/realtime", "model=voice")
_OPENAI = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime")
_MODALITIES = ("text", "audio", "image")


def record(usages: list[dict[str, Any]], folder: Path, book: RateBook) -> Path:
    """Write what a process would have recorded that was told of these usages, and return the folder."""
    ledger = Ledger(folder)
    for usage in usages:
        if usage["usage"] != "hidden":
            assert ledger.append(usage["at"], _fields(usage, book)) is None
    ledger.close()
    return folder


def _fields(usage: Mapping[str, Any], book: RateBook) -> str:
    endpoint = _OPENAI if usage["provider"] == "openai" else _AZURE
    assert endpoint is not None
    kind, reported = Kind(usage["kind"]), Reported(usage["usage"])
    is_transcription = kind is Kind.TRANSCRIPTION
    name = usage["model"] + (f"-{usage['version']}" if usage["version"] else "")
    named = Named(requested=endpoint.requested_model, said=name, transcription=is_transcription)
    # Nobody has said of what scope the deployments are.
    deployment = Deployment(model=usage["model"], version=usage["version"])
    deployments = {"voice": deployment} if endpoint is _AZURE else None
    resolved = Naming(book, deployments).resolve(endpoint, named)
    assert resolved.sku is not None
    is_known = reported is Reported.REPORTED
    amounts, raw = read_usage(_usage_object(usage), text_output=is_transcription) if is_known else (Amounts(), None)
    prices = book.prices(resolved.sku, datetime.fromisoformat(usage["at"]))
    item = Metered(
        usage=Usage(kind=kind, id=usage["id"], status=usage["status"], reported=reported, amounts=amounts, raw=raw),
        named=named,
        session=usage["session"],
        at=0,
    )
    form = RecordForm(endpoint, named, resolved, account=endpoint.account, attributes={})
    return form.fields(item, price(amounts, prices))


def _usage_object(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Say the quantities as a service does, who counts what is cached within the input."""
    quantities = usage["quantities"]
    if "audio.duration" in quantities:
        return {"type": "duration", "seconds": float(quantities["audio.duration"])}
    cached = {modality: int(quantities.get(f"{modality}.cached_input", 0)) for modality in _MODALITIES}
    sent = {modality: int(quantities.get(f"{modality}.input", 0)) + cached[modality] for modality in _MODALITIES}
    produced = {modality: int(quantities.get(f"{modality}.output", 0)) for modality in ("text", "audio")}
    made, given = sum(produced.values()), sum(sent.values())
    return {
        "total_tokens": given + made,
        "input_tokens": given,
        "output_tokens": made,
        "input_token_details": {
            **{f"{modality}_tokens": count for modality, count in sent.items()},
            "cached_tokens": sum(cached.values()),
            "cached_tokens_details": {f"{modality}_tokens": count for modality, count in cached.items()},
        },
        "output_token_details": {f"{modality}_tokens": count for modality, count in produced.items()},
    }
