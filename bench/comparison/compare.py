"""The whole comparison, from the first peer's start to the last one's end."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from bench.comparison.bulk_contest import compare_bulk
from bench.comparison.connections_contest import compare_connections
from bench.comparison.contest import Told
from bench.comparison.figure import Figure, Results
from bench.comparison.growth_contest import compare_growth
from bench.comparison.latency_contest import compare_latency
from bench.comparison.overload_contest import compare_overload
from bench.comparison.requests_contest import compare_adds, compare_reads
from bench.comparison.setting import Chosen, Setting
from bench.comparison.stage import Stage
from bench.comparison.switches_contest import compare_switches
from bench.errors import BenchError

Contest = Callable[[Stage], None]
Finished = Callable[[Sequence[Figure], float], None]

CONTESTS: Final[tuple[tuple[frozenset[Chosen], Contest], ...]] = (
    (frozenset({Chosen.ADD, Chosen.KEYED}), compare_adds),
    (frozenset({Chosen.BALANCE, Chosen.HISTORY, Chosen.MIX}), compare_reads),
    (frozenset({Chosen.BULK}), compare_bulk),
    (frozenset({Chosen.LATENCY}), compare_latency),
    (frozenset({Chosen.OVERLOAD}), compare_overload),
    (frozenset({Chosen.CONNECTIONS}), compare_connections),
    (frozenset({Chosen.SWITCHES}), compare_switches),
    (frozenset({Chosen.GROWTH}), compare_growth),
)


def compare(setting: Setting, told: Told, finished: Finished) -> Results:
    """Measures the chosen loads. What cannot be measured is noted with its reason.

    Args:
        told: what is measured now.
        finished: what was measured since the last call, and how many seconds that took.

    Every process that it starts has ended when it returns or raises, also on SIGINT and SIGTERM.
    """
    results = Results()
    with _ended_by_sigterm(), Stage(setting, results, told) as stage:
        for loads, contest in CONTESTS:
            chosen = loads & setting.loads
            if not chosen:
                continue
            known, started = set(results.figures), time.monotonic()
            try:
                contest(stage)
            except BenchError as error:
                stage.skip(", ".join(sorted(chosen)), str(error))
            found = [figure for name, figure in results.figures.items() if name not in known]
            finished(found, time.monotonic() - started)
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
