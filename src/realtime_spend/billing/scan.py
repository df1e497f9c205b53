"""DuckDB at work on a bill: one pass that sums what is left out and hands over only the rows that may be Realtime's."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from realtime_spend.billing.statement import DIGITS, MOST_REJECTED, quoted_path, statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from duckdb import DuckDBPyConnection

    from realtime_spend.billing.sheets import Sheet

# Far more than a bill of millions of rows takes: rows about Realtime are held, and there may be a million of them.
_MEMORY = "2GB"
_EVERY_SECONDS = 0.1


class ScanError(Exception):
    """DuckDB cannot read the file; the message is its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows with the same date, type of charge and currency, as written. `cost` sums those that are not `rows`.

    `without_cost` counts those of them whose cost is no number; `first_ones` has their places, where rows are numbered.
    `places` has those of any rows.
    """

    date: str
    charge: str
    charge_class: str
    currency: str
    count: int
    cost: Decimal
    without_cost: int
    rows: Sequence[Mapping[str, str | int | None]]
    first_ones: Sequence[int]
    places: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row that DuckDB could not part into columns: its line, and the place of the column where that showed."""

    line: int
    place: int | None
    why: str


@dataclass(slots=True, kw_only=True)
class Scanned:
    """What one pass found."""

    groups: list[Group] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    are_more_rejected: bool = False
    # How many digits the columns that are binary fractions have at most, by name.
    digits: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def engine() -> Iterator[tuple[DuckDBPyConnection, Path]]:
    """Yield a DuckDB that stays on this machine, and a folder for what it and we have to put aside.

    Raises:
        ValueError: DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: PLC0415 - only those who read bills need it
    except ImportError:
        raise ValueError("reading bills needs DuckDB: pip install 'realtime-spend[reconcile]'") from None
    with tempfile.TemporaryDirectory(prefix="realtime-spend-") as folder:
        settings: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": _MEMORY,
            "temp_directory": str(Path(folder) / "spilled"),
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            # Progress is asked for, never printed; a day is a UTC day wherever this runs.
            connection.execute(
                "SET enable_progress_bar = true; SET enable_progress_bar_print = false; SET TimeZone = 'UTC'"
            )
            copies = Path(folder) / "copies"
            copies.mkdir()
            yield connection, copies


def scan(
    connection: DuckDBPyConnection, sheet: Sheet, size: int, advance: Callable[[int], None], *, numbered: bool
) -> Scanned:
    """Read a whole sheet once. `numbered` costs some speed, and is for saying in which row something is wrong.

    Raises:
        ScanError: DuckDB cannot read it.
    """
    import duckdb  # noqa: PLC0415 - as above

    try:
        types = _types(connection, sheet) if sheet.is_parquet else {}
        fetched = _watched(connection, statement(sheet, types, numbered=numbered), size, advance)
        rejected, are_more = ([], False) if sheet.is_parquet else _rejected(connection)
    except duckdb.Error as error:
        raise ScanError(str(error).strip().partition("\n")[0]) from error
    finally:
        connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    groups = [
        Group(
            date=row[0] or "",
            charge=row[1] or "",
            charge_class=row[2] or "",
            currency=row[3] or "",
            count=row[4],
            cost=row[5],
            without_cost=row[6],
            rows=row[7] or (),
            first_ones=row[8] or (),
            places=row[9] or (),
        )
        for row in fetched
    ]
    digits = {name: DIGITS[kind] for name, kind in types.items() if kind in DIGITS}
    return Scanned(groups=groups, rejected=rejected, are_more_rejected=are_more, digits=digits)


def parquet_header(connection: DuckDBPyConnection, path: Path) -> list[str]:
    """Return the names of a Parquet file's columns.

    Raises:
        ScanError: it is damaged.
    """
    import duckdb  # noqa: PLC0415 - as above

    try:
        found = connection.execute(_described(path)).fetchall()
    except duckdb.Error as error:
        raise ScanError(str(error).strip().partition("\n")[0]) from error
    return [row[0] for row in found]


def _watched(
    connection: DuckDBPyConnection, query: str, size: int, advance: Callable[[int], None]
) -> list[tuple[Any, ...]]:
    """Run the query, telling how much of `size` is done. Ctrl-C stops it."""
    found: list[list[tuple[Any, ...]]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(connection.execute(query).fetchall())
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
            failed.append(error)

    thread = Thread(target=work, name="realtime-spend-duckdb")
    told = 0
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_EVERY_SECONDS)
            done = int(size * min(max(connection.query_progress(), 0.0), 99.0) / 100)
            advance(max(done - told, 0))
            told = max(done, told)
    except BaseException:
        connection.interrupt()
        thread.join()
        raise
    if failed:
        raise failed[0]
    advance(size - told)
    return found[0]


def _described(path: Path) -> str:
    return f"DESCRIBE SELECT * FROM read_parquet({quoted_path(path)})"  # noqa: S608 - a quoted path


def _types(connection: DuckDBPyConnection, sheet: Sheet) -> dict[str, str]:
    described = connection.execute(_described(sheet.path)).fetchall()
    return {row[0]: row[1] for row in described}


def _rejected(connection: DuckDBPyConnection) -> tuple[list[Rejected], bool]:
    """Return the rows that could not be parted, and whether there were more than were kept."""
    known = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchone()
    if known is None:
        return [], False
    found = connection.execute(
        "SELECT line, min_by(column_name, column_idx), "
        "coalesce(min_by(error_message, column_idx), any_value(error_message), any_value(error_type)::VARCHAR), "
        "count(*) "
        "FROM reject_errors GROUP BY line ORDER BY line"
    ).fetchall()
    rows = [
        Rejected(line=line, place=int(name[1:]) if name else None, why=why.partition("\n")[0])
        for line, name, why, _ in found
    ]
    return rows, sum(row[3] for row in found) >= MOST_REJECTED
