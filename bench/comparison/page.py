"""The report for people: one HTML page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from bench.comparison.figure import Results
from bench.comparison.table import Table, figures_table, targets_table
from bench.report import Json

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-size: 13px }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left }
td.reached { color: #1e8449 } td.missed, .wrong { color: #922b21; font-weight: bold }
svg { max-width: 100%; height: auto }
"""
METHOD: Final = (
    "All processes of a peer run on one core, the load generator on another. The peers are "
    "measured in turn, repetition by repetition; whoever is not measured is stopped (SIGSTOP).",
    "A ratio is that of two measurements made one right after the other; shown is the median of "
    "the repetitions, and in brackets least and most.",
    "Closed loop: a connection asks again when it has its answer. Open loop: requests are due at "
    "random moments of a fixed rate, and latency counts from when a request was due, not from when "
    "it could be sent.",
    "Any answer that is not as it must be is an error, also a 503; a figure of BitBurst with "
    "errors misses its target.",
    "PostgreSQL: shared_buffers 256MB, fsync and synchronous_commit on, a Unix socket, no "
    "checkpoint during the run. Its rows in bulk are made by the server itself: it spends nothing "
    "on receiving or parsing them, BitBurst does.",
    "generator-bound: the load generator's core was busy and the server's was not, so the server "
    "is faster than shown. disturbed: something else took more than 15 % of the server's core.",
)


def page(
    results: Results,
    surroundings: Json,
    plots: Sequence[tuple[str, str]],
    others: Sequence[Table] = (),
) -> str:
    """The whole page.

    Args:
        plots: titles and SVG documents.
        others: tables of what was measured beside the comparison.
    """
    parts = [
        _verdict(results),
        _table(targets_table(results)),
        *(f"<h2>{escape(title)}</h2>\n{svg}" for title, svg in plots),
        _table(figures_table(results.figures.values())),
        *(_table(table) for table in others),
        _listed("Read back", results.checked),
        _listed("Not measured", results.skipped),
        "<h2>How</h2>\n<ul>" + "".join(f"<li>{escape(line)}</li>" for line in METHOD) + "</ul>",
        _listed("On what", {name: str(value) for name, value in surroundings.items()}),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>BitBurst, measured</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n<h1>BitBurst, measured</h1>\n{body}\n</body></html>\n"
    )


def _verdict(results: Results) -> str:
    if results.wrong:
        return f'<p class="wrong">{results.wrong:,} credits were lost or doubled.</p>'
    return "<p>Everything that was acknowledged and read back was there, once.</p>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    return f"<h2>{escape(table.title)}</h2>\n<table>\n<tr>{head}</tr>\n{rows}\n</table>"


def _cell(text: str) -> str:
    first = text.partition(",")[0]
    marked = f' class="{first}"' if first in ("reached", "missed") else ""
    return f"<td{marked}>{escape(text)}</td>"


def _listed(title: str, lines: Mapping[str, str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(what)}: {escape(told)}</li>" for what, told in lines.items())
    return f"<h2>{escape(title)}</h2>\n<ul>{items}</ul>"
