"""Whether an old page of a long history costs what the newest costs."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import trio

from bench.errors import BenchError
from bench.http_client import open_connection, parse_origin, resolve
from bench.latency import Percentiles, percentiles
from bench.progress import ProgressBar
from bench.server_process import ServerProcess
from bench.store_builder import StoreBuilder, user_name
from bench.wire import ENTRIES_PER_PAGE, UserName, history_request
from ledger_actors.identity import UserId


@dataclass(frozen=True, slots=True)
class PagingParameters:
    entries: int
    """Entries in the one user's history."""
    requests: int
    """Requests for each of the two pages, in turn on one connection."""
    seed: int

    @property
    def last_page(self) -> int:
        return -(-self.entries // ENTRIES_PER_PAGE)


@dataclass(frozen=True, slots=True)
class PagingLatencies:
    parameters: PagingParameters
    first: Percentiles
    """Of page 1."""
    last: Percentiles
    """Of the page with the oldest entries."""

    @property
    def p50_ratio(self) -> float:
        return self.last.p50_ms / self.first.p50_ms


def measure_paging(
    folder: Path, parameters: PagingParameters, progress: ProgressBar
) -> PagingLatencies:
    """
    Raises:
        BenchError: a page was not full, or the server did not answer as it should.
    """
    path = folder / "paging"
    builder = StoreBuilder(path, parameters.seed)
    users: Iterator[UserId] = repeat(user_name(0), parameters.entries)
    builder.append(users, lambda entries: None, fold=True)
    builder.close()
    with ServerProcess(path) as server:
        progress("asking for pages", 0, parameters.requests)
        latencies = trio.run(_ask, server.url, parameters)
        server.stop()
    first, last = (percentiles(latencies[page]) for page in (1, parameters.last_page))
    assert first is not None
    assert last is not None
    return PagingLatencies(parameters, first, last)


async def _ask(url: str, parameters: PagingParameters) -> dict[int, list[int]]:
    origin = parse_origin(url)
    connection = await open_connection(await resolve(origin), 10.0)
    latencies: dict[int, list[int]] = {1: [], parameters.last_page: []}
    try:
        for _ in range(parameters.requests):
            for page, recorded in latencies.items():
                request = history_request(origin.authority, UserName(user_name(0)), page)
                asked = time.perf_counter_ns()
                answer = await connection.ask(request)
                recorded.append(time.perf_counter_ns() - asked)
                if answer.status != 200 or len(json.loads(answer.body)) != ENTRIES_PER_PAGE:
                    raise BenchError(f"page {page} is not full: {answer.body[:80]!r}")
    finally:
        connection.close()
    return latencies
