"""Takes the picture of the page that is in the documentation, of made-up sessions and of a bill that lacks nothing.

    python -m tests.browser.picture

Everything between is real: the ledger, the export, the command, the page and the browser.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner
from PIL import Image
from tests.browser.chromium import browser
from tests.reconciling.conversations import conversations, lost_responses, unobserved_transcription
from tests.reconciling.recording import record

from realtime_spend.cli import main
from realtime_spend.rate_cards import load_book
from realtime_spend.simulator.bill import faults
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.faults import Where, inject
from realtime_spend.simulator.bill.writing import BillForm, write_bill

if TYPE_CHECKING:
    from tests.browser.chromium import Page

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "reconciliation.png"
DAYS = tuple(date(2026, 11, 1) + timedelta(days=number) for number in range(30))
# A day after the last one: that one is still open.
_AT = "2026-12-01T12:00:00Z"
_WIDTH, _HEIGHT = 1180, 1512
_COLOURS = 64


def write_page(folder: Path) -> Path:
    """Let a month of sessions be billed with most of what can be wrong, reconcile it, and return the page."""
    usages = unobserved_transcription(conversations(days=DAYS), days=DAYS[12:14])
    usages = lost_responses(usages, model="gpt-realtime", days=DAYS[15:17])
    draft = draft_bill(usages, provider=BillForm.EXPORT.provider)
    voice = ["gpt-realtime"]
    wrong = (
        faults.unobserved_traffic(Where(models=voice, days=DAYS[18:20]), extra=Decimal(1)),
        faults.cache_not_billed(Where(models=voice, days=DAYS[22:23])),
        faults.another_team(days=DAYS[24:25]),
        faults.unmapped_meter(days=DAYS[9:10]),
        faults.one_meter_high(Where(models=voice, days=DAYS[26:27]), "audio.output"),
        faults.discount(Decimal("0.85"), Where(models=["gpt-realtime-mini"])),
        faults.unsettled_day(DAYS[-1]),
    )
    bill = write_bill(inject(draft, wrong), BillForm.MCA, folder / "export")
    record(usages, folder / "ledger", load_book())
    page = folder / "page.html"
    options = ("--ledger", folder / "ledger", "--bill", bill, "--at", _AT, "--html", page)
    done = CliRunner().invoke(main, ["reconcile", *map(str, options)])
    if done.exit_code != 1:
        raise RuntimeError(done.output)
    return page


def take(tab: Page, page: Path, to: Path) -> None:
    """Take the picture of what one sees first."""
    tab.look(width=_WIDTH)
    tab.open(page.as_uri())
    tab.picture(to)
    with Image.open(to) as whole:
        # Few colours are enough, and a tenth of the bytes.
        whole.crop((0, 0, _WIDTH, min(_HEIGHT, whole.height))).quantize(_COLOURS).save(to, optimize=True)


if __name__ == "__main__":
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        with browser(Path(found), here / "profile") as running, running.page() as opened:
            take(opened, write_page(here), PICTURE)
