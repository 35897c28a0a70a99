"""The peers while they are up, and one measurement of one of them."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from bench.comparison.contest import Told
from bench.comparison.figure import Results, Sample
from bench.comparison.setting import Chosen, PeerChoice, Setting
from bench.comparison.targets import EMPTY_ROUTE, FASTAPI, POSTGRES
from bench.cores import Busy, CoreWatch, pinned
from bench.errors import BenchError
from bench.loads.generator import Started, ask_by_own, ask_by_wrk
from bench.loads.outcome import Outcome
from bench.loads.requests import Plan
from bench.peers.bitburst import BitBurst, copy_store
from bench.peers.fastapi_on_postgres import FastApiOnPostgres, fastapi_on_postgres, fill_ledger
from bench.peers.peer import Peer, Skipped, WebPeer, awake, rest_once_started
from bench.peers.postgres import Postgres, find_programs
from bench.peers.web_process import WebProcess
from bench.store_builder import StoreBuilder

ROUNDS: Final = 12
"""Entries of each user before a load: more than a page of history."""
LEDGER: Final = "ledger"
T = TypeVar("T")
ASKED_OVER_HTTP: Final = frozenset(
    {Chosen.ADD, Chosen.KEYED, Chosen.BALANCE, Chosen.HISTORY, Chosen.MIX}
)


class Stage:
    """Use as a context manager. Whoever is on it rests until it is measured."""

    def __init__(self, setting: Setting, results: Results, told: Told) -> None:
        self.setting = setting
        self.results = results
        self.told = told
        self.empty_route: WebProcess | None = None
        self.postgres: Postgres | None = None
        self.fastapi: FastApiOnPostgres | None = None
        self._up = ExitStack()
        self._built: Path | None = None

    def __enter__(self) -> "Stage":
        self._up.enter_context(pinned(self.setting.cores.load))
        try:
            self._start_empty_route()
            self._start_postgres()
            self._start_fastapi()
        except BaseException:
            self._up.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._up.close()

    @contextmanager
    def bitburst(
        self, name: str, flags: tuple[str, ...] = (), store: Path | None = None
    ) -> Iterator[BitBurst]:
        """BitBurst on a store of its own, resting.

        Args:
            name: of its data directory.
            store: what it starts from; a copy of the store that all loads share by default.

        Raises:
            BenchError: the store could not be built, or the server did not start.
        """
        if store is None:
            store = copy_store(self._shared_store(), self.setting.folder / name)
        with (
            pinned(self.setting.cores.server),
            BitBurst(store, (*self.setting.serve_flags, *flags)) as server,
            pinned(self.setting.cores.load),
        ):
            rest_once_started(server)
            yield server

    def measure(self, peer: Peer, run: Callable[[Started], T]) -> tuple[T, Busy]:
        """Wakes the peer, has it measured, and says how busy the cores were in the timed part.

        Raises: what `run` raises.
        """
        watch = CoreWatch(self.setting.cores, peer.pids)

        def started() -> None:
            nonlocal watch
            watch = CoreWatch(self.setting.cores, peer.pids)

        # What others have left to the kernel to write would be written meanwhile.
        os.sync()
        with awake(peer), uncollected():
            outcome = run(started)
            busy = watch.stop()
        return outcome, busy

    def ask(
        self,
        peer: WebPeer,
        plan: Plan,
        connections: int,
        *,
        own: bool = False,
        seconds: float | None = None,
    ) -> tuple[Outcome, Busy]:
        """Closed-loop load for as long as the setting says, or for so many seconds.

        Raises:
            BenchError: the load could not be made.
        """

        def run(started: Started) -> Outcome:
            wrk, long = self.setting.wrk, seconds or self.setting.seconds
            if wrk is None or own:
                return ask_by_own(peer.url, plan, connections, long, started)
            return ask_by_wrk(wrk, peer.url, plan, connections, long, started)

        return self.measure(peer, run)

    @property
    def generator(self) -> str:
        """Which one `ask` uses."""
        return "own, closed loop" if self.setting.wrk is None else "wrk -t1"

    def skip(self, peer: str, reason: str) -> None:
        """Notes that a peer is not measured."""
        self.results.skipped[peer] = reason

    def _shared_store(self) -> Path:
        if self._built is None:
            self.told("building a store", 0, 1)
            self._built = build_store(
                self.setting.folder / "built", self.setting.users, ROUNDS, self.setting.seed
            )
        return self._built

    def _start_empty_route(self) -> None:
        if PeerChoice.QUART not in self.setting.peers or not self._has_requests:
            return
        log = self.setting.folder / "quart.log"
        try:
            with pinned(self.setting.cores.server):
                process = WebProcess("bench.peers.empty_route", (), log)
                self.empty_route = self._up.enter_context(process)
            rest_once_started(self.empty_route)
        except BenchError as error:
            self.skip(EMPTY_ROUTE, str(error))

    def _start_postgres(self) -> None:
        setting = self.setting
        alone = PeerChoice.POSTGRES in setting.peers and setting.loads & {Chosen.ADD, Chosen.BULK}
        if not alone and not self._wants_fastapi:
            return
        self.told("starting PostgreSQL", 0, 1)
        try:
            with pinned(setting.cores.server):
                self.postgres = self._up.enter_context(Postgres(setting.folder, find_programs()))
            fill_ledger(self.postgres, LEDGER, setting.users, ROUNDS)
            rest_once_started(self.postgres)
        except (BenchError, Skipped) as error:
            self.postgres = None
            self.skip(POSTGRES, str(error))
            self.skip(FASTAPI, str(error))

    def _start_fastapi(self) -> None:
        if self.postgres is None or not self._wants_fastapi:
            return
        try:
            with awake(self.postgres), pinned(self.setting.cores.server):
                api = fastapi_on_postgres(self.setting.folder, self.postgres, LEDGER)
                self.fastapi = self._up.enter_context(api)
            rest_once_started(self.fastapi)
        except (BenchError, Skipped) as error:
            self.skip(FASTAPI, str(error))

    @property
    def _has_requests(self) -> bool:
        return bool(self.setting.loads & ASKED_OVER_HTTP)

    @property
    def _wants_fastapi(self) -> bool:
        asked = self.setting.loads & (ASKED_OVER_HTTP | {Chosen.LATENCY})
        return PeerChoice.FASTAPI in self.setting.peers and bool(asked)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps the garbage collector of this process, which is the load generator, from running: its
    pauses would count as the server's latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def build_store(path: Path, users: int, rounds: int, seed: int) -> Path:
    """A store of that many users with so many entries each, all folded.

    Raises:
        BuildFailedError: the snapshotter could not fold them.
    """
    builder = StoreBuilder(path, seed)
    try:
        builder.rounds(users, rounds, lambda entries: None, fold=True)
    finally:
        builder.close()
    return path


def sample_of(outcome: Outcome, busy: Busy) -> Sample:
    """A repetition whose value is a rate."""
    return Sample(
        outcome.per_second,
        outcome.seconds,
        outcome.errors,
        outcome.first_error,
        busy,
        outcome.latency,
    )
