"""A finished simulation as a picture.

Throughput and latency over time. Imported only when asked for.
"""

from math import nan
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from bench.latency import NS_PER_S, Window
from bench.phase import Phase
from bench.simulate import Simulation

WINDOWS_PER_PHASE_MAX: Final = 80
WINDOW_NS_MIN: Final = NS_PER_S // 10
LOUD: Final = "#922b21"
LINES: Final = (
    ("p50", "p50_ms", "#7fb3d5"),
    ("p90", "p90_ms", "#2e86c1"),
    ("p99", "p99_ms", "#d35400"),
    ("p99.9", "p999_ms", LOUD),
)


def plot_simulation(simulation: Simulation, file: Path) -> None:
    """Write a PNG: adds left, reads right; throughput above, latency percentiles below."""
    figure = Figure(figsize=(12, 7), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    colour = "black" if simulation.passed else LOUD
    figure.suptitle(_title(simulation), fontsize=12, x=0.01, ha="left", color=colour)
    for column, (name, phase) in enumerate(
        (("adds", simulation.adding), ("reads", simulation.reading))
    ):
        windows = _windows(phase)
        _plot_throughput(axes[0, column], f"{name}: {_summary(phase)}", windows, phase)
        _plot_latencies(axes[1, column], windows, phase)
    # Only now: an earlier limit would cut off what the other phase reaches.
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("answered a second")
    axes[1, 0].set_ylabel("latency, ms")
    lines, _ = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)
    figure.savefig(file, format="png")


def _title(simulation: Simulation) -> str:
    plan = simulation.parameters.workload
    outcome = "nothing lost, nothing doubled" if simulation.passed else "FAILED"
    return (
        f"{plan.users:,} users x {plan.transactions_per_user:,} credits, "
        f"{simulation.parameters.concurrency:,} connections, "
        f"{plan.duplicate_share:.0%} sent twice: {outcome}"
    )


def _summary(phase: Phase) -> str:
    latency = phase.latencies.percentiles()
    p99 = "" if latency is None else f", p99 {latency.p99_ms:,.1f} ms"
    return (
        f"{phase.latencies.per_second:,.0f}/s{p99}, load generator {phase.cpu_share:.0%} of a core"
    )


def _windows(phase: Phase) -> list[Window]:
    # Equal stretches: a short last one would show a rate drawn from next to nothing.
    total_ns = round(phase.latencies.seconds * NS_PER_S)
    count = min(WINDOWS_PER_PHASE_MAX, max(1, total_ns // WINDOW_NS_MIN))
    return phase.latencies.windows(max(1, -(-total_ns // count)))


def _plot_throughput(axes: Axes, title: str, windows: list[Window], phase: Phase) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    rates = [window.per_second for window in windows]
    axes.stairs(rates, _edges(windows), fill=True, color="#1e8449", alpha=0.2, linewidth=0)
    axes.stairs(rates, _edges(windows), baseline=None, color="#1e8449", linewidth=1.5)
    axes.axhline(phase.latencies.per_second, color="#555555", linewidth=0.8, linestyle=":")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.0f}"))
    _tidy(axes, phase)


def _plot_latencies(axes: Axes, windows: list[Window], phase: Phase) -> None:
    for label, field, colour in LINES:
        # A stretch without an answer is a gap.
        values = [getattr(window.latency, field, nan) for window in windows]
        axes.stairs(
            values, _edges(windows), baseline=None, color=colour, linewidth=1.5, label=label
        )
    axes.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_major_formatter(plain)
    # Between the powers of ten, 2 and 5 are enough to read by.
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter(plain)
    axes.set_xlabel("seconds")
    _tidy(axes, phase)


def _edges(windows: list[Window]) -> list[float]:
    ends = [window.start_s + window.length_s for window in windows]
    return [windows[0].start_s, *ends] if windows else [0.0]


def _tidy(axes: Axes, phase: Phase) -> None:
    axes.grid(visible=True, which="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(left=0, right=phase.latencies.seconds)
