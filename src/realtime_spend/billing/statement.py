"""The one SQL statement that reads a table of charges: sums of what is left out, and rows that may be Realtime's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.billing.columns import Family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from realtime_spend.billing.sheets import Sheet

# A part of any of these is in the name of every meter that can be Realtime's or a transcription's. Many others hold one
# as well: names are read afterwards, and this only spares reading all of them.
NAMED = ("rt", "realtime", "aud", "transcr", "trscb", "tcrb", "whisper", "translat", "voice", "speech")
# One of these is in every category that Azure has sold them under.
CATEGORIES = ("cognitive", "foundry", "openai")
# And these name them whatever the category is called next.
_TELLING = ("gpt", "voice live", "whisper")
# A number with a comma before its fraction, or points between its thousands.
DECIMAL_COMMA = r"-?(?:\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d+,\d+)(?:[eE][+-]?\d+)?"
# How many decimal digits the binary fractions of Parquet hold.
DIGITS = {"DOUBLE": 15, "FLOAT": 6}
# So many rows that something is wrong with are named one by one.
MOST_NAMED = 20
# DuckDB keeps what it cannot parse, and a file of garbage is nothing but that.
MOST_REJECTED = 10_000


def statement(sheet: Sheet, types: Mapping[str, str], *, numbered: bool) -> str:
    """Return the one statement that reads a sheet."""
    roles = {role: _value(sheet, places, types) for role, places in sheet.layout.places.items()}
    roles = {"charge": "''", "charge_class": "''", "provider": "''", **roles}
    columns = ", ".join(f"{value} AS {_name(role)}" for role, value in roles.items())
    number = "0"
    if numbered:
        number = "file_row_number + 1" if sheet.is_parquet else "row_number() OVER ()"
    taken = ", ".join(f"{_name(role)} := {_name(role)}" for role in roles)
    amount = "r_cost"
    if sheet.has_decimal_comma:
        plain = "replace(replace(r_cost, '.', ''), ',', '.')"
        amount = f"CASE WHEN regexp_full_match(r_cost, '{DECIMAL_COMMA}') THEN {plain} ELSE r_cost END"
    lowest = f"min(place, {MOST_NAMED})" if numbered else "NULL"
    others = f"min(place, {MOST_NAMED}) FILTER (NOT ours AND amount IS NULL)" if numbered else "NULL"
    return f"""
        WITH written AS (SELECT {number} AS place, {columns} FROM {_source(sheet)}),
             read AS (SELECT *, TRY_CAST({amount} AS DECIMAL(38, 18)) AS amount, {_ours(sheet)} AS ours FROM written)
        SELECT r_date, r_charge, r_charge_class, r_currency, count(*),
               coalesce(sum(amount) FILTER (NOT ours), 0), count(*) FILTER (NOT ours AND amount IS NULL),
               list(struct_pack(place := place, {taken})) FILTER (ours), {others}, {lowest}
        FROM read GROUP BY r_date, r_charge, r_charge_class, r_currency"""  # noqa: S608 - built of quoted names


def _ours(sheet: Sheet) -> str:
    """Return the test that every row about Realtime passes, and few others."""
    named = _has("r_meter", NAMED)
    is_likely = f"CASE WHEN {_has('r_category', CATEGORIES)} THEN true ELSE {_has('r_meter', _TELLING)} END"
    ours = f"CASE WHEN {is_likely} THEN {named} ELSE false END"
    if sheet.layout.family is Family.FOCUS:
        return f"coalesce(CASE WHEN {_has('r_provider', ('openai',))} THEN {named} ELSE {ours} END, false)"
    return f"coalesce({ours}, false)"


def _has(column: str, words: Sequence[str]) -> str:
    return "(" + " OR ".join(f"contains(lower({column}), '{word}')" for word in words) + ")"


def _value(sheet: Sheet, places: Sequence[int], types: Mapping[str, str]) -> str:
    """Return the text of a column, of the first of several that has any."""
    texts = [_text(sheet, place, types) for place in places]
    if len(texts) == 1:
        return f"coalesce({texts[0]}, '')"
    return "coalesce(" + ", ".join(f"nullif(trim({text}), '')" for text in texts) + ", '')"


def _text(sheet: Sheet, place: int, types: Mapping[str, str]) -> str:
    if not sheet.is_parquet:
        return f"c{place}"
    name = sheet.layout.header[place]
    quoted = '"' + name.replace('"', '""') + '"'
    kind = types.get(name, "")
    if kind in DIGITS:
        # All the digits that a binary fraction holds, and none of the noise behind them.
        return f"format('{{:.{DIGITS[kind]}g}}', {quoted})"
    return quoted if kind == "VARCHAR" else f"CAST({quoted} AS VARCHAR)"


def _source(sheet: Sheet) -> str:
    if sheet.is_parquet:
        return f"read_parquet({quoted_path(sheet.path)}, file_row_number = true)"
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(sheet.layout.header)))
    return (
        f"read_csv({quoted_path(sheet.path)}, auto_detect = false, header = false, skip = {sheet.lines_above + 1}, "
        f"delim = '{sheet.delimiter}', quote = '\"', escape = '\"', columns = {{{columns}}}, "
        f"compression = '{'gzip' if sheet.is_gzip else 'none'}', "
        f"ignore_errors = true, store_rejects = true, rejects_limit = {MOST_REJECTED})"
    )


def quoted_path(path: Path) -> str:
    """Return a path as DuckDB takes it: what would be a pattern stands for itself."""
    text = "".join(f"[{letter}]" if letter in "[*?" else letter for letter in str(path.absolute()))
    return "'" + text.replace("'", "''") + "'"


def _name(role: str) -> str:
    return f"r_{role}"
