"""What BitBurst is to reach, as ratios between figures, and whether it did."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.comparison.figure import Figure, FigureName, Spread, ratio

BITBURST: Final = "BitBurst"
EMPTY_ROUTE: Final = "empty Quart route"
FASTAPI: Final = "FastAPI + PostgreSQL"
POSTGRES: Final = "PostgreSQL alone"
DISK: Final = "LMDB commit"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
AT_PEAK: Final = "adds accepted, most"
OVERLOADED: Final = f"adds accepted, 3 {TIMES} the peak offered"
P99_OVERLOADED: Final = f"p99 of adds accepted, 3 {TIMES} the peak offered"


class Bound(StrEnum):
    """Which side of a target is the good one."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a ratio, or on a figure itself where it is compared with nothing."""

    what: str
    figure: FigureName
    against: FigureName | None
    bound: Bound
    value: float

    @property
    def against_text(self) -> str:
        """The peer, or what of BitBurst itself it is compared with."""
        if self.against is None:
            return ""
        return self.against.what if self.against.peer == BITBURST else self.against.peer

    @property
    def text(self) -> str:
        """The bound as it is printed: of a ratio, or the bare number of a figure."""
        if self.against is None:
            return f"{self.bound} {self.value:,.0f}"
        return f"{self.bound} {self.value:g} {TIMES}"


class Verdict(StrEnum):
    """How a target came out."""

    REACHED = "reached"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Judged:
    """A target and what was measured for it."""

    target: Target
    figure: Figure | None
    against: Figure | None
    reached: Spread | None
    """The ratio, or the figure where the target is one of a figure; None when not measured."""

    @property
    def verdict(self) -> Verdict:
        if self.reached is None or self.figure is None:
            return Verdict.NOT_MEASURED
        if self.figure.errors:
            # What is answered wrongly is quick.
            return Verdict.MISSED
        value = self.reached.median
        if self.target.bound is Bound.AT_LEAST:
            return Verdict.REACHED if value >= self.target.value else Verdict.MISSED
        return Verdict.REACHED if value <= self.target.value else Verdict.MISSED


def judge(target: Target, figures: Mapping[FigureName, Figure]) -> Judged:
    """The target, with what was measured; the median of the repetitions decides."""
    figure = figures.get(target.figure)
    against = None if target.against is None else figures.get(target.against)
    if figure is None or (target.against is not None and against is None):
        return Judged(target, figure, against, None)
    reached = figure.spread if against is None else ratio(figure, against)
    return Judged(target, figure, against, reached)


def _ours(what: str) -> FigureName:
    return FigureName(BITBURST, what)


def _empty(beside: str) -> FigureName:
    return FigureName(EMPTY_ROUTE, f"empty beside {beside}, 64 connections")


def _switched(what: str, load: str) -> tuple[Target, Target]:
    title = f"{what} with all of it on, against off"
    of, own = f"{load}, all", "per processor second"
    return (
        Target(title, _ours(f"{of} on"), _ours(f"{of} off"), Bound.AT_LEAST, 0.95),
        Target(
            f"{title}, {own} of the server",
            _ours(f"{of} on, {own}"),
            _ours(f"{of} off, {own}"),
            Bound.AT_LEAST,
            0.95,
        ),
    )


TARGETS: Final = (
    Target("add", _ours("add, 64 connections"), _empty("adds"), Bound.AT_LEAST, 20),
    Target(
        "add",
        _ours("add, 64 connections"),
        FigureName(FASTAPI, "add, 64 connections"),
        Bound.AT_LEAST,
        8,
    ),
    Target(
        "keyed add, against add without a key",
        _ours("keyed, 64 connections"),
        _ours("add, 64 connections"),
        Bound.AT_LEAST,
        0.85,
    ),
    Target("balance", _ours("balance, 64 connections"), _empty("reads"), Bound.AT_LEAST, 30),
    Target(
        "history, page 1", _ours("history, 64 connections"), _empty("reads"), Bound.AT_LEAST, 15
    ),
    Target("bulk of msgpack, credits/s", _ours("bulk, msgpack"), None, Bound.AT_LEAST, 300_000),
    Target(
        "bulk of msgpack",
        _ours("bulk, msgpack"),
        FigureName(POSTGRES, "insert of 8,190 rows"),
        Bound.AT_LEAST,
        5,
    ),
    Target(
        "bulk of JSON, against msgpack",
        _ours("bulk, JSON"),
        _ours("bulk, msgpack"),
        Bound.AT_LEAST,
        0.6,
    ),
    Target(
        "p99 of adds at half the peak rate",
        _ours("p99 at half the peak"),
        FigureName(DISK, "median commit"),
        Bound.AT_MOST,
        20,
    ),
    Target(
        "that p99 while a snapshot is folded, against none",
        _ours("p99 while folding"),
        _ours("p99 at half the peak"),
        Bound.AT_MOST,
        2,
    ),
    Target(
        "adds accepted at three times the peak, against the peak",
        _ours(OVERLOADED),
        _ours(AT_PEAK),
        Bound.AT_LEAST,
        0.8,
    ),
    Target(
        "p99 of those that are accepted, ms",
        _ours(P99_OVERLOADED),
        None,
        Bound.AT_MOST,
        250,
    ),
    Target(
        "add with 1,000,000 users, against 10,000",
        _ours("add, 1,000,000 users"),
        _ours("add, 10,000 users"),
        Bound.AT_LEAST,
        0.8,
    ),
    Target(
        "add, 10,000 connections open and 1,000 active, against 512",
        _ours("add, 10,000 open"),
        _ours("add, 512 open"),
        Bound.AT_LEAST,
        0.7,
    ),
    *_switched("add", "add"),
    *_switched("balance", "balance"),
    *_switched("history", "history"),
    *_switched("bulk of msgpack", "bulk"),
)
