"""Writes a bill into a folder in one of the forms that providers send, and with it what was injected."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.bill.azure import Agreement, Counting, cost_details
from realtime_spend.simulator.bill.draft import Draft, draft_bill
from realtime_spend.simulator.bill.export import next_morning, write_run
from realtime_spend.simulator.bill.faults import inject, unsettled_day, with_untold_billed
from realtime_spend.simulator.bill.focus import FocusVersion, focus, write_focus_parquet
from realtime_spend.simulator.bill.openai import costs_csv, costs_pages
from realtime_spend.simulator.models import Provider
from realtime_spend.simulator.prices import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date
    from pathlib import Path

    from realtime_spend.simulator.bill.faults import Fault


_SETTLED = timedelta(days=4)


class BillForm(StrEnum):
    """How a provider sends its bill."""

    EA = "azure-ea"
    MCA = "azure-mca"
    C360 = "azure-c360"
    EXPORT = "azure-export"  # the folder of a scheduled export, with two runs of each month
    FOCUS_1_0 = "focus-1.0"
    FOCUS_1_0R2 = "focus-1.0r2"
    FOCUS_1_2 = "focus-1.2"
    FOCUS_PARQUET = "focus-parquet"
    OPENAI_COSTS = "openai-costs"
    OPENAI_CSV = "openai-csv"

    @property
    def provider(self) -> Provider:
        """Whose bill it is."""
        return Provider.OPENAI if self in {BillForm.OPENAI_COSTS, BillForm.OPENAI_CSV} else Provider.AZURE


def write_bill(draft: Draft, form: BillForm, folder: Path, counting: Counting = Counting.TOKENS) -> Path:
    """Write the bill into the folder, which is made if it is not there, and return what to read.

    Raises:
        ImportError: Parquet is asked for without DuckDB.
        OSError: it cannot be written.
        NoMeterError: Azure does not sell what is to be billed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if form is BillForm.EXPORT:
        return _write_export(draft, folder, counting)
    if form is BillForm.FOCUS_PARQUET:
        path = folder / "part_0_0001.snappy.parquet"
        write_focus_parquet(draft, FocusVersion.V1_2, path, counting)
        return path
    name, text_of = _TEXTS[form]
    path = folder / name
    path.write_text(text_of(draft, counting), encoding="utf-8", newline="")
    return path


_Text = Callable[[Draft, Counting], str]
_TEXTS: dict[BillForm, tuple[str, _Text]] = {
    BillForm.EA: ("cost-details.csv", lambda draft, counting: cost_details(draft, Agreement.EA, counting)),
    BillForm.MCA: ("cost-details.csv", lambda draft, counting: cost_details(draft, Agreement.MCA, counting)),
    BillForm.C360: ("cost-details.csv", lambda draft, counting: cost_details(draft, Agreement.C360, counting)),
    BillForm.FOCUS_1_0: ("focus.csv", lambda draft, counting: focus(draft, FocusVersion.V1_0, counting)),
    BillForm.FOCUS_1_0R2: ("focus.csv", lambda draft, counting: focus(draft, FocusVersion.V1_0R2, counting)),
    BillForm.FOCUS_1_2: ("focus.csv", lambda draft, counting: focus(draft, FocusVersion.V1_2, counting)),
    BillForm.OPENAI_COSTS: ("costs.json", lambda draft, _: json.dumps(costs_pages(draft), indent=1) + "\n"),
    BillForm.OPENAI_CSV: ("costs.csv", lambda draft, _: costs_csv(draft)),
}


def _write_export(draft: Draft, folder: Path, counting: Counting) -> Path:
    """Write two runs of each month; the first one lacks the last day, and has but a part of the day before."""
    months: dict[date, list[date]] = {}
    for day in draft.days:
        months.setdefault(day.replace(day=1), []).append(day)
    for month, days in months.items():
        for until in dict.fromkeys((*days[-2:-1], days[-1])):
            so_far = until_day(draft, month, until)
            if until != days[-1]:
                inject(so_far, [unsettled_day(until)])
            text = cost_details(so_far, Agreement.EA, counting)
            # The last run is of a day when everything has settled.
            seen = until if until != days[-1] else until + _SETTLED
            write_run(folder, text, month, next_morning(seen))
    return folder


def until_day(draft: Draft, month: date, until: date) -> Draft:
    """Return what the month has come to by the end of a day."""

    def is_in(day: date) -> bool:
        return month <= day <= until

    return Draft(
        charges=[charge for charge in draft.charges if is_in(charge.day)],
        others=[other for other in draft.others if is_in(other.day)],
        currency=draft.currency,
        to_usd=draft.to_usd,
    )


def bill_for(
    usages: Iterable[Mapping[str, Any]],
    form: BillForm,
    folder: Path,
    *,
    faults: Iterable[Fault] = (),
    account: str = "contoso-voice",
    seed: int = 0,
) -> Draft:
    """Write the bill for a truth, with faults, into `bill/`, and `injected.json` beside that; return it.

    Raises:
        ValueError: the truth has nothing that this provider bills.
        ImportError, OSError: as of `write_bill`.
    """
    draft = draft_bill(with_untold_billed(usages), provider=form.provider, account=account, seed=seed)
    if not draft.charges:
        raise ValueError(
            f"nothing was used that {form.provider} would bill; hold sessions there, or choose another form"
        )
    inject(draft, faults)
    write_bill(draft, form, folder / "bill")
    rows = [
        {"fault": one.fault, "day": one.day.isoformat(), "model": one.model, "component": one.component,
         "cost": plain(draft.billed(one.cost)), "currency": draft.currency}
        for one in draft.injected
    ]  # fmt: skip
    (folder / "injected.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return draft
