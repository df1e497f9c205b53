"""The page of a reconciliation in a real browser: wide and narrow, light and dark, on paper, and with harm in it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.browser.picture import PICTURE, take, write_page
from tests.reports.november import AT, HARMFUL, november

from realtime_spend.reports.page import Basis, page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.chromium import Page

_WIDTHS = (1280, 360)
_LOOKS = [(width, scheme) for width in _WIDTHS for scheme in ("light", "dark")]
_ELSEWHERE = "http://example.com/seen"
_RUNNING_OVER = """
[...document.querySelectorAll("body *")]
  .filter((element) => element.getClientRects().length && element.getBoundingClientRect().right > innerWidth + 0.5)
  .filter((element) => !element.closest("thead"))
  .map((element) => element.tagName + " " + element.textContent.slice(0, 40))
"""
_PICTURES = """
[...document.querySelectorAll("svg")]
  .map((one) => ({size: one.getBoundingClientRect(), bars: [...one.querySelectorAll("rect")].map((bar) => {
    const {width, height} = bar.getBoundingClientRect();
    return [width, height];
  })}))
  .filter(({size}) => size.width)
  .map(({size, bars}) => ({width: size.width, height: size.height, bars}))
"""
_ROWS = "[...document.querySelectorAll('#row-table tbody tr')].filter((row) => !row.hidden).length"


@pytest.fixture(scope="module")
def html() -> str:
    basis = Basis(
        estimate="/srv/ledger",
        bills=("export/2026-11",),
        tolerance=Decimal("0.02"),
        floor=Decimal("0.50"),
        at=AT,
        fx={},
    )
    return page(november(), basis)


@pytest.fixture
def file(html: str, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    return path


def _colours(path: Path) -> dict[tuple[int, ...], int]:
    """How many points of a picture have each colour."""
    with Image.open(path) as picture:
        counts = picture.convert("RGB").getcolors(picture.width * picture.height)
    assert isinstance(counts, list)
    return {colour: count for count, colour in counts if isinstance(colour, tuple)}


def _typed(tab: Page, text: str) -> None:
    tab.evaluate(
        f"(() => {{ const field = document.getElementById('filter-text'); field.value = {text!r};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


@pytest.mark.parametrize(("width", "scheme"), _LOOKS)
def test_it_fits_is_drawn_and_asks_for_nothing(tab: Page, file: Path, tmp_path: Path, width: int, scheme: str) -> None:
    tab.look(width=width, scheme=scheme)
    tab.open(file.as_uri())
    for is_open in (False, True):
        tab.evaluate(f"document.querySelectorAll('details').forEach((one) => {{ one.open = {str(is_open).lower()}; }})")
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate(_RUNNING_OVER) == []
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    pictures = tab.evaluate(_PICTURES)
    assert len(pictures) == 2
    for picture in pictures:
        assert picture["width"] > 0.75 * min(width, 1_000)
        assert picture["height"] > 150
        assert len(picture["bars"]) > 5
        assert all(side > 0.5 for bar in picture["bars"] for side in bar)
    colours = _colours(tab.picture(tmp_path / "page.png"))
    assert len(colours) > 50
    paper = max(colours, key=lambda colour: colours[colour])
    assert sum(paper) > 3 * 230 if scheme == "light" else sum(paper) < 3 * 60
    billed = (0x24, 0x58, 0xC6) if scheme == "light" else (0x74, 0xA1, 0xFF)
    assert colours[billed] > 500
    assert tab.asked == [file.as_uri()]
    assert tab.said == []
    assert not [line for line in tab.proxy.asked if "example.com" in line]


def test_text_is_large_enough_to_be_read_on_a_phone(tab: Page, file: Path) -> None:
    tab.look(width=360)
    tab.open(file.as_uri())
    heights = tab.evaluate(
        "[...document.querySelectorAll('svg text')].map((one) => one.getBoundingClientRect().height).filter(Boolean)"
    )
    assert min(heights) > 11
    sizes = tab.evaluate(
        "[...document.querySelectorAll('td, th, p, dd, li')].map((one) => getComputedStyle(one).fontSize)"
    )
    assert min(float(size.removesuffix("px")) for size in sizes) >= 12


def test_nothing_that_a_bill_says_is_taken_for_markup(tab: Page, file: Path) -> None:
    tab.open(file.as_uri())
    assert tab.evaluate("document.scripts.length") == 1
    assert tab.evaluate(f"[...document.querySelectorAll('th')].some((one) => one.textContent === {HARMFUL!r})") is True


def test_its_policy_keeps_in_what_gets_into_it(tab: Page, html: str, tmp_path: Path) -> None:
    injected = (
        f'<img src="{_ELSEWHERE}"><script>new Image().src = "{_ELSEWHERE}?script";</script><i style="color:red">x</i>'
    )
    path = tmp_path / "injected.html"
    path.write_text(html.replace("</main>", f"{injected}</main>"), encoding="utf-8")
    tab.open(path.as_uri())
    assert len([said for said in tab.said if "Content Security Policy" in said]) == 3
    assert not [line for line in tab.proxy.asked if "example.com" in line]


def test_without_its_policy_the_same_would_be_seen(tab: Page, html: str, tmp_path: Path) -> None:
    path = tmp_path / "without.html"
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    path.write_text(without.replace("</main>", f'<img src="{_ELSEWHERE}"></main>'), encoding="utf-8")
    tab.open(path.as_uri())
    assert _ELSEWHERE in tab.asked
    assert [line for line in tab.proxy.asked if _ELSEWHERE in line]


def test_rows_can_be_narrowed_down(tab: Page, file: Path) -> None:
    tab.open(file.as_uri())
    every = len(november().rows)
    assert tab.evaluate(_ROWS) == every
    _typed(tab, "datazone AUDIO.OUTPUT")
    assert tab.evaluate(_ROWS) == 8
    assert tab.evaluate("document.getElementById('filter-count').textContent") == f"8 of {every}"
    _typed(tab, "")
    tab.evaluate(
        "(() => { const state = document.getElementById('filter-state'); state.value = 'open';"
        " state.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    assert tab.evaluate(_ROWS) == 12
    tab.evaluate("document.getElementById('filter-state').value = ''; document.getElementById('filter-beyond').click()")
    assert tab.evaluate(_ROWS) == sum(row.is_beyond and row.state != "open" for row in november().rows)


def test_without_scripts_all_rows_are_there(tab: Page, file: Path) -> None:
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(file.as_uri())
    tab.send("Emulation.setScriptExecutionDisabled", value=False)
    assert tab.evaluate("document.getElementById('filter').hidden") is True
    assert tab.evaluate(_ROWS) == len(november().rows)


def test_whoever_cannot_see_it_is_told_the_same(tab: Page, file: Path) -> None:
    told: dict[int, list[tuple[str, int]]] = {}
    for width in _WIDTHS:
        tab.look(width=width)
        tab.open(file.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
        images = [node for node in nodes if _of(node, "role") in {"image", "img"}]
        assert [_of(node, "name") for node in images] == [
            "Estimated and billed, USD, 2026-11-01 to 2026-11-30",
            "From estimate to bill, USD",
        ]
        assert all(_of(node, "description") for node in images)
        roles = [str(_of(node, "role")) for node in nodes if not node["ignored"]]
        told[width] = [(role, roles.count(role)) for role in ("table", "row", "columnheader", "rowheader", "cell")]
    # Laid out as cards, tables stay tables.
    assert told[1280] == told[360]
    assert all(count for _, count in told[360])


def _of(node: dict[str, Any], name: str) -> Any:
    return node.get(name, {}).get("value")


def test_it_is_printed_dark_on_light_and_without_what_only_a_screen_can_do(tab: Page, file: Path) -> None:
    tab.look(width=1280, scheme="dark", media="print")
    tab.open(file.as_uri())
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.evaluate("document.getElementById('filter').getClientRects().length") == 0
    assert len([one for one in tab.evaluate(_PICTURES) if one["height"] > 150]) == 2
    paper = tab.pdf()
    assert paper.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 5


# --- Of a real ledger and a real bill --------------------------------------------------------------------------------


def test_the_command_writes_a_page_that_opens(tab: Page, tmp_path: Path) -> None:
    written = write_page(tmp_path)
    for width in _WIDTHS:
        tab.look(width=width)
        tab.open(written.as_uri())
        assert re.fullmatch(
            r"The bill is \d+\.\d\d USD \(\d+\.\d\N{NO-BREAK SPACE}%\) above the estimate, .*",
            tab.evaluate("document.querySelector('h1').textContent"),
        )
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate(_RUNNING_OVER) == []
        assert len(tab.evaluate(_PICTURES)) == 2
        assert tab.evaluate("document.querySelectorAll('#row-table tbody tr').length") > 400
        assert (tab.asked, tab.said) == ([written.as_uri()], [])


def test_the_picture_in_the_documentation_is_of_such_a_page(tab: Page, tmp_path: Path) -> None:
    take(tab, write_page(tmp_path), tmp_path / "picture.png")
    taken, kept = _colours(tmp_path / "picture.png"), _colours(PICTURE)
    assert sum(taken.values()) == sum(kept.values())
    assert PICTURE.stat().st_size < 150_000
    # Letters are drawn a little differently everywhere, the bars are not.
    billed = (0x24, 0x58, 0xC6)
    nearest = [
        min(colours, key=lambda one: sum(abs(a - b) for a, b in zip(one, billed, strict=True)))
        for colours in (taken, kept)
    ]
    assert taken[nearest[0]] == pytest.approx(kept[nearest[1]], rel=0.2)
