"""The generator of closed-loop load: wrk where it is installed, the bench's own elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from bench.http_client import Address, parse_origin, resolve
from bench.loads.closed import OPEN_SECONDS_MAX, ask_over, first_request
from bench.loads.lean_client import LeanClient
from bench.loads.outcome import Outcome
from bench.loads.requests import Plan, RequestMaker
from bench.loads.wrk import run_wrk

Started = Callable[[], None]
"""Told when the timed part begins."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server is asked."""

    url: str
    address: Address
    authority: str


def site(url: str) -> Site:
    """Looks the server up.

    Raises:
        UnusableUrlError: the URL is none.
    """
    origin = parse_origin(url)
    return Site(url, trio.run(resolve, origin), origin.authority)


def ask_by_wrk(
    wrk: str, url: str, plan: Plan, connections: int, seconds: float, started: Started
) -> Outcome:
    """Has wrk ask for that long, rounded to whole seconds. Raises what `run_wrk` raises."""
    started()
    return run_wrk(wrk, url, plan, connections, max(1, round(seconds)))


def ask_by_own(
    url: str,
    plan: Plan,
    connections: int,
    seconds: float,
    started: Started,
    idle_connections: int = 0,
) -> Outcome:
    """Asks for that long over those connections; others are open beside them and say nothing.

    Raises:
        BenchError: the connections could not be opened, or what came was no HTTP.
    """
    where = site(url)
    with LeanClient(where.address) as client:
        client.open(
            connections + idle_connections,
            first_request(plan.load, where.authority, plan.headers),
            OPEN_SECONDS_MAX,
        )
        started()
        return ask_over(client, connections, RequestMaker(plan, where.authority), seconds)
