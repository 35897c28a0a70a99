"""The report of a run: a page, a document for programs, and the README's table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.comparison.figure import Results
from bench.comparison.page import page
from bench.comparison.table import Table, markdown, targets_table
from bench.report import Json
from bench.store_report import Measured, rows_of, store_json

FOLDER: Final = Path("bench/report")


@dataclass(frozen=True, slots=True)
class Found:
    """What a run of the comparison has to report."""

    results: Results
    document: Json
    """As `comparison_json` made it while the run's folder was there."""


def write_report(folder: Path, found: Found, measured: Sequence[Measured] = ()) -> None:
    """Writes index.html, report.json and table.md into the folder, which is made.

    Args:
        measured: what was measured of stores beside it.
    """
    # Importing matplotlib takes longer than a small run.
    from bench.comparison.plots import plots

    folder.mkdir(parents=True, exist_ok=True)
    document = dict(found.document)
    if measured:
        document["store"] = store_json(*measured)
    (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "table.md").write_text(markdown(targets_table(found.results)))
    tables = [_table_of(one) for one in measured]
    surroundings = document["machine"]
    shown = page(found.results, surroundings, plots(found.results), tables)
    (folder / "index.html").write_text(shown)


def _table_of(measured: Measured) -> Table:
    title, rows = rows_of(measured)
    return Table(title, ("", ""), tuple((row.what, row.figure) for row in rows))
