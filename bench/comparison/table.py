"""The findings as tables, in Markdown: for the README, and for the report's page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.comparison.figure import Figure, Results, Spread
from bench.comparison.targets import TARGETS, TIMES, Judged, Verdict, judge

SMALL: Final = 100
TINY: Final = 1


@dataclass(frozen=True, slots=True)
class Table:
    """Text in columns; all but the first are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def markdown(table: Table) -> str:
    """The table as Markdown, without its title."""
    rules = ("---", *("---:" for _ in table.columns[1:]))
    return "\n".join(_line(row) for row in (table.columns, rules, *table.rows)) + "\n"


def targets_table(results: Results) -> Table:
    """What BitBurst is to reach, and what it did; the README's table."""
    rows = (_target_row(judge(target, results.figures)) for target in TARGETS)
    columns = ("what", "BitBurst", "against", "ratio (least to most)", "target", "")
    return Table("Targets", columns, tuple(rows))


def figures_table(figures: Iterable[Figure]) -> Table:
    """Everything that was measured, and how."""
    columns = (
        *("who", "what", "median (least to most)", "unit", "errors"),
        *("generator", "seconds", "server core (peer)", "load core (generator)", ""),
    )
    return Table("Figures", columns, tuple(_figure_row(figure) for figure in figures))


def number(value: float) -> str:
    """As exact as it deserves: 31,204 or 71.3 or 0.412."""
    if abs(value) >= SMALL:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= TINY * 10 else f"{value:.3g}"


def ratio_text(spread: Spread) -> str:
    """Median, and in brackets least and most."""
    return f"{number(spread.median)} ({number(spread.least)} to {number(spread.most)})"


def _target_row(judged: Judged) -> tuple[str, ...]:
    target = judged.target
    verdict = str(judged.verdict)
    if judged.figure is not None and judged.figure.errors:
        verdict += f", {judged.figure.errors:,} errors"
    measured = (judged.figure, judged.against) if judged.reached is not None else ()
    flags = {flag for one in measured if one is not None for flag in one.flags}
    verdict = ", ".join((verdict, *sorted(flags)))
    ours = "" if judged.figure is None else _value(judged.figure)
    against = "" if judged.against is None else f"{target.against_text}: {_value(judged.against)}"
    reached = ""
    if judged.verdict is not Verdict.NOT_MEASURED and judged.reached is not None:
        times = f" {TIMES}" if target.against else ""
        reached = ratio_text(judged.reached) + times
    return (target.what, ours, against, reached, target.text, verdict)


def _value(figure: Figure) -> str:
    return f"{number(figure.spread.median)} {figure.unit}"


def _figure_row(figure: Figure) -> tuple[str, ...]:
    seconds = sum(sample.seconds for sample in figure.samples)
    return (
        *figure.name,
        *(ratio_text(figure.spread), figure.unit, f"{figure.errors:,}", figure.generator),
        f"{len(figure.samples)} {TIMES} {seconds / len(figure.samples):.1f}",
        _shares([(one.server_core, one.server_processes) for one in figure.busy]),
        _shares([(one.load_core, one.generator) for one in figure.busy]),
        ", ".join(figure.flags),
    )


def _shares(busy: Sequence[tuple[float, float]]) -> str:
    if not busy:
        return ""
    core, own = (sum(shares) / len(busy) for shares in zip(*busy, strict=True))
    return f"{core:.0%} ({own:.0%})"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
