"""What to tell a user whose usage has no price: what is missing, and which variable to set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core.endpoints import Service
from realtime_spend.core.line_items import Provider
from realtime_spend.core.rates import Reason

if TYPE_CHECKING:
    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named, Resolved

_COUNTED = "its tokens are counted, its cost is not"
_NAMELESS = "a session without a name"
# There is nothing that a map of deployments could be asked for.
_NOBODY_NAMES = "no event and no URL has named the model of a session: have its URL say model=..., or attach --model"
_CARD = "REALTIME_SPEND_RATE_CARDS"
_MAP = "REALTIME_SPEND_DEPLOYMENTS"


def advice(endpoint: Endpoint, named: Named, resolved: Resolved, reason: Reason) -> tuple[str, str]:
    """Return the name that the trouble is with, and one sentence about it."""
    name = (resolved.sku.model if resolved.sku else None) or named.said or named.requested or _NAMELESS
    if name == _NAMELESS and reason is Reason.MODEL_NOT_NAMED:
        return name, f"{_NOBODY_NAMES} ({_COUNTED})"
    deployment = named.requested or name
    says = f"{_MAP}='{{\"{deployment}\": {_entry(endpoint, named)}}}'"
    if reason is Reason.MODEL_NOT_LISTED:
        return name, _not_listed(endpoint, name, says)
    scope = resolved.scope or "global"
    sentences = {
        Reason.MODEL_NOT_NAMED: f"no event names the model of {deployment!r}: say what it runs, {says}",
        Reason.NOT_A_TRANSCRIPTION_MODEL: f"{name!r} is named for transcription and does not transcribe. If it is a "
        f"deployment, say what it runs: {says}",
        Reason.OTHER_PRICE_LIST: f"{name!r} runs on Azure Voice Live, which bills by tier on meters of its own",
        Reason.NOT_PRICED_BY_TOKEN: f"{name!r} runs on provisioned capacity, which is billed by the hour",
        Reason.VERSION_NOT_KNOWN: f"the versions of {name!r} have different rates and nobody says which it is: {says}",
        Reason.REGION_NOT_KNOWN: f"regional rates of {name!r} differ from region to region: add its region to {_MAP}",
        Reason.NO_RATE: f"the rate cards have no rate for some of what {name!r} used (scope {scope}). Give it in a "
        f"card of your own and set {_CARD} to that file",
    }
    return name, f"{sentences[reason]} ({_COUNTED})"


def _entry(endpoint: Endpoint, named: Named) -> str:
    """Return an example of what a deployment may run: a model for what it was used for."""
    if named.transcription:
        return '{"model": "gpt-4o-mini-transcribe", "version": "2025-12-15", "scope": "datazone"}'
    if endpoint.service is Service.TRANSLATION:
        return '{"model": "gpt-realtime-translate", "scope": "global"}'
    return '{"model": "gpt-realtime", "version": "2025-08-28", "scope": "datazone"}'


def _not_listed(endpoint: Endpoint, name: str, says: str) -> str:
    if endpoint.provider is Provider.AZURE:
        unlisted = f"{name!r} is not a model that our rate cards list on Azure: {_COUNTED}."
        return f"{unlisted} If it is a deployment, say what it runs: {says}"
    unlisted = f"{name!r} is not a model that our rate cards list: {_COUNTED}."
    return f"{unlisted} Give its rates in a card of your own and set {_CARD} to that file"
