"""The findings as pictures. Imported only when asked for: matplotlib takes its time."""

from collections.abc import Sequence
from io import StringIO
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import FuncFormatter

from bench.comparison.figure import Figure, FigureName, Results
from bench.comparison.overload_contest import offered_share
from bench.comparison.targets import (
    BITBURST,
    DISK,
    EMPTY_ROUTE,
    FASTAPI,
    POSTGRES,
    TARGETS,
    TIMES,
    Bound,
    Verdict,
    judge,
)

COLOURS: Final = {
    BITBURST: "#1e8449",
    EMPTY_ROUTE: "#7fb3d5",
    FASTAPI: "#d35400",
    POSTGRES: "#7d3c98",
    DISK: "#555555",
}
BAR_INCHES: Final = 0.32
WIDTH_INCHES: Final = 9.0
LATENCIES: Final = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")


def plots(results: Results) -> list[tuple[str, str]]:
    """Titles and SVG documents, of all that was measured enough for."""
    found = [
        ("Reached, of what was to be reached", _plot_targets(results)),
        ("Requests", _plot_rates(results, frozenset({"requests/s", "inserts/s"}))),
        ("Bulk", _plot_rates(results, frozenset({"credits/s", "rows/s"}))),
        ("Latency on schedule", _plot_latencies(results)),
        ("Adds offered and accepted", _plot_overload(results)),
        ("Adds by number of users in the store", _plot_growth(results)),
    ]
    return [(title, svg) for title, svg in found if svg is not None]


def _plot_targets(results: Results) -> str | None:
    judged = [judge(target, results.figures) for target in TARGETS]
    measured = [one for one in judged if one.reached is not None]
    if not measured:
        return None
    picture, axes = _picture(len(measured))
    for row, one in enumerate(measured):
        assert one.reached is not None
        # A target of at most so much is turned over, so that further right is always better.
        turned = one.target.bound is Bound.AT_MOST
        ends = [
            one.target.value / value if turned else value / one.target.value
            for value in (one.reached.least, one.reached.median, one.reached.most)
        ]
        colour = COLOURS[BITBURST] if one.verdict is Verdict.REACHED else "#922b21"
        axes.plot([min(ends), max(ends)], [row, row], color=colour, linewidth=2)
        axes.plot(ends[1], row, marker="D", color=colour)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    _label_rows(axes, [f"{one.target.what}, {one.target.text}" for one in measured])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{TIMES}"))
    return _svg(picture)


def _plot_rates(results: Results, units: frozenset[str]) -> str | None:
    figures = [figure for figure in results.figures.values() if figure.unit in units]
    if not figures:
        return None
    figures.sort(key=lambda figure: (figure.name.what, figure.name.peer))
    picture, axes = _picture(len(figures))
    for row, figure in enumerate(figures):
        spread = figure.spread
        axes.barh(row, spread.median, color=COLOURS[figure.name.peer], alpha=0.75)
        axes.plot([spread.least, spread.most], [row, row], color="black", linewidth=1)
    _label_rows(axes, [f"{one.name.what} — {one.name.peer}" for one in figures])
    axes.set_xlim(left=0)
    axes.set_xlabel("a second")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _svg(picture)


def _plot_latencies(results: Results) -> str | None:
    figures = [figure for figure in results.figures.values() if figure.unit == "ms"]
    if not figures:
        return None
    picture, axes = _picture(10)
    for number, figure in enumerate(figures):
        line = _median_latencies(figure)
        label = f"{figure.name.peer}: {figure.name.what}"
        style = ("-", "--", ":", "-.")[number % 4]
        axes.plot(LATENCIES, line, style, marker="o", color=COLOURS[figure.name.peer], label=label)
    axes.set_xticks(range(len(LATENCIES)), ["p50", "p90", "p99", "p99.9", "max"])
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(frameon=False, fontsize=8)
    return _svg(picture)


def _median_latencies(figure: Figure) -> list[float]:
    known = [sample.latency for sample in figure.samples if sample.latency is not None]
    sorted_by_rank = [sorted(getattr(one, rank) for one in known) for rank in LATENCIES]
    return [values[len(values) // 2] for values in sorted_by_rank]


def _plot_overload(results: Results) -> str | None:
    shares = {offered_share(name): figure for name, figure in results.figures.items()}
    points = sorted((share, figure) for share, figure in shares.items() if share is not None)
    if len(points) < 2:
        return None
    picture, axes = _picture(10)
    offered = [share for share, _ in points]
    spreads = [figure.spread for _, figure in points]
    axes.plot(offered, [one.median for one in spreads], marker="o", color=COLOURS[BITBURST])
    axes.vlines(offered, [one.least for one in spreads], [one.most for one in spreads], "black")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("adds offered, in times of the most that is accepted")
    axes.set_ylabel("adds accepted a second")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    times = axes.twinx()
    late = [_median_latencies(figure) for _, figure in points]
    for rank, style in ((0, ":"), (2, "--")):
        line = [latencies[rank] for latencies in late]
        label = f"{LATENCIES[rank].removesuffix('_ms')} of those accepted, since they were sent"
        times.plot(offered, line, style, marker="o", color=COLOURS[DISK], label=label)
    times.set_ylim(bottom=0)
    times.set_ylabel("ms")
    times.legend(frameon=False, fontsize=8, loc="lower right")
    return _svg(picture)


def _plot_growth(results: Results) -> str | None:
    figures = {_users(name): figure for name, figure in results.figures.items() if _users(name)}
    if len(figures) < 2:
        return None
    picture, axes = _picture(8)
    users = sorted(figures)
    spreads = [figures[number].spread for number in users]
    axes.plot(users, [one.median for one in spreads], marker="o", color=COLOURS[BITBURST])
    axes.vlines(users, [one.least for one in spreads], [one.most for one in spreads], "black")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("users")
    axes.set_ylabel("adds a second")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _svg(picture)


def _users(name: FigureName) -> int:
    if name.peer != BITBURST or not name.what.endswith(" users"):
        return 0
    return int(name.what.removeprefix("add, ").removesuffix(" users").replace(",", ""))


def _picture(rows: int) -> tuple[Picture, Axes]:
    picture = Picture(figsize=(WIDTH_INCHES, 1 + rows * BAR_INCHES), layout="constrained")
    FigureCanvasSVG(picture)
    axes = picture.subplots()
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return picture, axes


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()


def _svg(picture: Picture) -> str:
    written = StringIO()
    picture.savefig(written, format="svg", metadata={"Date": None})
    document = written.getvalue()
    # Inside a page, the document's head would be in the way.
    return document[document.index("<svg") :]
