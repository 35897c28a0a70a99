"""The whole comparison, from the first peer's start to the last one's end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from bench.comparison.bulk_contest import compare_bulk
from bench.comparison.connections_contest import compare_connections
from bench.comparison.contest import Told
from bench.comparison.figure import Results
from bench.comparison.growth_contest import compare_growth
from bench.comparison.latency_contest import compare_latency
from bench.comparison.requests_contest import compare_adds, compare_reads
from bench.comparison.setting import Chosen, Setting
from bench.comparison.stage import Stage
from bench.errors import BenchError

Contest = Callable[[Stage], None]

CONTESTS: Final[tuple[tuple[frozenset[Chosen], Contest], ...]] = (
    (frozenset({Chosen.ADD, Chosen.KEYED}), compare_adds),
    (frozenset({Chosen.BALANCE, Chosen.HISTORY, Chosen.MIX}), compare_reads),
    (frozenset({Chosen.BULK}), compare_bulk),
    (frozenset({Chosen.LATENCY}), compare_latency),
    (frozenset({Chosen.CONNECTIONS}), compare_connections),
    (frozenset({Chosen.GROWTH}), compare_growth),
)


def compare(setting: Setting, told: Told) -> Results:
    """Measures the chosen loads. What cannot be measured is noted with its reason.

    Every process that it starts has ended when it returns or raises, also on SIGINT and SIGTERM.
    """
    results = Results()
    with _ended_by_sigterm(), Stage(setting, results, told) as stage:
        for loads, contest in CONTESTS:
            chosen = loads & setting.loads
            if not chosen:
                continue
            try:
                contest(stage)
            except BenchError as error:
                stage.skip(", ".join(sorted(chosen)), str(error))
    return results


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    # Python would end at once, and leave the servers.
    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
