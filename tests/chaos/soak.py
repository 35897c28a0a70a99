"""Everything that can go wrong, for as long as you like, and an audit at the end.

    python tests/chaos/soak.py --seconds 1800 --seed 7

Callers add, retry, send bulks and read; slow ones hold connections; meanwhile server, snapshotter
and readers of the store are killed and stopped, and the disk is full. What the server holds is
watched for growth. The seed decides what goes wrong when; how far the server has come by then is
the machine's.
"""

import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from random import Random

import click
import lmdb
import psutil
import trio
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from chaos_client import Connection
from growth import SAMPLES_MIN, Sample, growth
from held import held_by
from load import ALL_ACTS, Load
from server_under_load import ServerUnderLoad
from slowloris import MIX, Crowd, fill_a_page

USERS = 200
CLIENTS = 16
SLOW_CLIENTS = 20
PAUSE_S = 0.02
SAMPLE_INTERVAL_S = 0.5
REPORT_INTERVAL_S = 10.0
QUIET_S_MAX = 10.0
STOPPED_S_MAX = 2.0
FULL_S_MAX = 2.0
FILLING_TIMEOUT_S = 60.0
FILLER_CREDITS = 500
FILLER_REFERENCE = "r" * 255
FILLER_USERS = [f"filler-{number:02}-" + "u" * 100 for number in range(64)]
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
SERVER_FLAGS = (
    *("--snapshot-entries", "2000", "--snapshot-interval-s", "0.5"),
    # A quarter of what is judged as growth, at most: what waits to be folded is no leak.
    *("--unfolded-entries-max", "10000"),
    *("--probe-interval-s", "0.2", "--request-timeout-s", "5"),
)
GROWTH_MAX: Sample = {"memory MB": 16, "files": 8, "threads": 4, "reader slots": 4}
READER_SLOTS_MAX = 32
"""Of 126: each process that reads has one, and leaves it behind when it is killed."""


class Fault(Enum):
    KILL = "server and snapshotter killed"
    SNAPSHOTTER_KILLED = "snapshotter killed"
    STOPPED = "server stopped for a while"
    SNAPSHOTTER_STOPPED = "snapshotter stopped for a while"
    READER_KILLED = "verify killed while it reads"
    DISK_FULL = "disk full until credits are refused"


OFTEN = (Fault.SNAPSHOTTER_KILLED, Fault.STOPPED, Fault.SNAPSHOTTER_STOPPED, Fault.READER_KILLED)


def faults_of_a_life(rng: Random) -> list[Fault]:
    """What befalls a server until it is killed.

    It begins with a full disk, when the most is in memory: what is held from then on may not grow.
    It is long, or it would show no leak; `kill.py` does nothing but kill.
    """
    between = [*OFTEN * 3, Fault.DISK_FULL]
    return [Fault.DISK_FULL, *rng.sample(between, len(between)), Fault.KILL]


@dataclass(frozen=True, slots=True)
class Plan:
    seconds: float
    seed: int

    @property
    def command(self) -> str:
        return f"python tests/chaos/soak.py --seconds {self.seconds:g} --seed {self.seed}"


class Soak:
    """One run: a server, its callers, and what befalls them."""

    def __init__(self, plan: Plan, data_dir: Path, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._rng = Random(plan.seed)
        self._load = Load(Random(plan.seed + 1), ALL_ACTS, PAUSE_S)
        self._tested = ServerUnderLoad(data_dir, self._load, *SERVER_FLAGS, port=free_port())
        self._server = self._tested.process
        self._crowd = Crowd()
        self._faults: Counter[Fault] = Counter()
        self._lives: list[list[Sample]] = []
        self._duration_s = 0.0

    async def run(self) -> list[str]:
        """Runs to the end, and returns what was found that must not be."""
        started = trio.current_time()
        try:
            await self._start()
            await trio.to_thread.run_sync(fill_a_page, self._server)
            async with trio.open_nursery() as background:
                background.start_soon(self._watch)
                for number in range(SLOW_CLIENTS):
                    manner = MIX[number % len(MIX)]
                    dawdle = partial(self._crowd.dawdle, self._server.port, manner, again=True)
                    background.start_soon(dawdle)
                async with trio.open_nursery() as callers:
                    users = [f"user-{number}" for number in range(USERS)]
                    callers.start_soon(self._load.run, CLIENTS, users)
                    await self._have_faults(started + self._plan.seconds)
                    self._load.stop()
                background.cancel_scope.cancel()
            self._duration_s = trio.current_time() - started
            await self._tested.audit({credit.user for credit in self._load.fates})
            await self._tested.stop()
            self._check_growth()
        except* AssertionError as group:
            self._tested.violations += [str(error) for error in group.exceptions]
        finally:
            self._server.kill()
        return self._tested.violations

    async def _start(self) -> None:
        self._lives.append([])
        await self._tested.start()

    async def _have_faults(self, until: float) -> None:
        """One after the other, with a while of quiet behind each."""
        quiet_s_max = min(self._plan.seconds / 40, QUIET_S_MAX)
        while True:
            for fault in faults_of_a_life(self._rng):
                if trio.current_time() >= until or self._tested.violations:
                    return
                await self._have(fault)
                self._faults[fault] += 1
                await trio.sleep(self._rng.uniform(0.5, 1.0) * quiet_s_max)

    async def _have(self, fault: Fault) -> None:
        match fault:
            case Fault.KILL:
                self._tested.kill()
                await self._start()
            case Fault.SNAPSHOTTER_KILLED:
                for pid in self._server.snapshotter_pids():
                    os.kill(pid, signal.SIGKILL)
            case Fault.STOPPED:
                with stopped([self._server.pid]):
                    await trio.sleep(self._rng.uniform(0.2, STOPPED_S_MAX))
            case Fault.SNAPSHOTTER_STOPPED:
                with stopped(self._server.snapshotter_pids()):
                    await trio.sleep(self._rng.uniform(0.2, STOPPED_S_MAX))
            case Fault.READER_KILLED:
                await self._kill_reader()
            case Fault.DISK_FULL:
                await self._fill_disk()

    async def _kill_reader(self) -> None:
        command = [sys.executable, "-m", "api", "verify", "--data-dir", str(self._server.data_dir)]
        with trio.move_on_after(self._rng.uniform(0.3, 1.2)):
            await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, deliver_cancel=_kill
            )

    async def _fill_disk(self) -> None:
        """The log may not grow, and nothing is folded, so that it fills; then there is room."""
        log = self._server.data_dir / "log" / "data.mdb"
        limit = (log.stat().st_size, resource.RLIM_INFINITY)
        with stopped(self._server.snapshotter_pids()):
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, limit)
            try:
                with trio.fail_after(FILLING_TIMEOUT_S):
                    await self._fill_log()
                await trio.sleep(self._rng.uniform(0.2, FULL_S_MAX))
            except trio.TooSlowError:
                self._tested.violations.append("the log was never full")
            finally:
                # A snapshotter that was started meanwhile has the limit too.
                for pid in (self._server.pid, *self._server.snapshotter_pids()):
                    with suppress(ProcessLookupError):
                        resource.prlimit(pid, resource.RLIMIT_FSIZE, UNLIMITED)

    async def _fill_log(self) -> None:
        """Sends large credits until the server says that it is not ready for more."""
        async with Connection(self._server.port) as connection:
            while (await connection.get("/readyz")).status == 200:
                users = self._rng.choices(FILLER_USERS, k=FILLER_CREDITS)
                many = [self._load.new_credit(user) for user in users]
                await self._load.send_bulk(connection, many, FILLER_REFERENCE)

    async def _watch(self) -> None:
        reported = trio.current_time()
        while True:
            # Between two lives there is nothing to look at.
            with suppress(psutil.Error, OSError, KeyError):
                self._lives[-1].append(self._sample())
            if trio.current_time() - reported >= REPORT_INTERVAL_S:
                reported = trio.current_time()
                self._report_progress()
            await trio.sleep(SAMPLE_INTERVAL_S)

    def _sample(self) -> Sample:
        held = held_by(self._server)
        slots = max(reader_slots(self._server.data_dir / part) for part in ("log", "snapshot"))
        return {
            "memory MB": held.memory_mb,
            "files": held.files,
            "threads": held.threads,
            "reader slots": slots,
        }

    def _report_progress(self) -> None:
        newest = self._lives[-1][-1:] or [{}]
        held = "  ".join(f"{what} {figure:.0f}" for what, figure in newest[0].items())
        self._console.print(
            f"{self._faults.total():>4} faults  {len(self._load.fates):>8} credits  {held}",
            highlight=False,
            soft_wrap=True,
        )

    def _check_growth(self) -> None:
        for what, grown in growth(self._lives).items():
            if grown > GROWTH_MAX[what]:
                self._tested.violations.append(f"{what} grew by {grown:.1f} in one life")
        slots = max((one["reader slots"] for life in self._lives for one in life), default=0)
        if slots > READER_SLOTS_MAX:
            self._tested.violations.append(f"{slots:.0f} reader slots are in use")

    def report(self) -> Table:
        counts = self._load.counts
        fates = Counter(fate.value for fate in self._load.fates.values())
        samples = [sample for life in self._lives for sample in life]
        lives = [life for life in self._lives if len(life) >= SAMPLES_MIN]
        grown = growth(self._lives)
        table = Table("what", "figure", title="soak")
        rows: dict[str, object] = {"seconds under load": f"{self._duration_s:.0f}"}
        rows |= {f"faults: {fault.value}": self._faults[fault] for fault in Fault}
        rows |= {
            "credits acknowledged": f"{fates['acknowledged']:,}",
            "credits of unknown outcome": f"{fates['unknown']:,}",
            **{
                what: f"{counts[what]:,}"
                for what in ("retries", "replays", "bulks", "balances", "histories", "503")
            },
            "unanswered requests": counts["unanswered"],
            "slow callers dropped": sum(map(len, self._crowd.dropped_after_s.values())),
            "slowest start": f"{max(self._tested.recoveries_s, default=0):.2f} s",
            "lives long enough to judge growth": f"{len(lives)} of {len(self._lives)}",
        }
        for what, most in GROWTH_MAX.items():
            peak = max((sample[what] for sample in samples), default=0)
            rows[f"{what}: most held; most grown, of {most:g} allowed"] = (
                f"{peak:.0f}; {grown.get(what, 0):.1f}"
            )
        rows |= {"violations": len(self._tested.violations), "seed": self._plan.seed}
        for what, figure in rows.items():
            table.add_row(what, str(figure))
        return table


def free_port() -> int:
    """It stays the same, whoever is killed: slow callers come again."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def reader_slots(path: Path) -> int:
    """How many places of LMDB's table of readers are in use or were left behind."""
    with lmdb.open(str(path), readonly=True, create=False) as environment:
        slots: int = environment.info()["num_readers"]
        return slots


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def _kill(process: trio.Process) -> None:
    process.kill()


@click.command()
@click.option("--seconds", type=click.FloatRange(min=5), default=1800.0, show_default=True)
@click.option("--seed", type=int, help="Without it, one of the clock's.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new directory, which stays; without it, a temporary one, which stays on failure.",
)
def main(seconds: float, seed: int | None, data_dir: Path | None) -> None:
    """Have everything go wrong under load, and audit what is left."""
    # Asked to end, as by `timeout`, it takes its server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    plan = Plan(seconds, Random().randrange(10**6) if seed is None else seed)
    temporary = Path(tempfile.mkdtemp(prefix="bitburst-soak-"))
    soak = Soak(plan, data_dir or temporary / "data", console)
    found = trio.run(soak.run)
    console.print(soak.report())
    for violation in found[:20]:
        console.print(violation, markup=False, highlight=False)
    if found:
        console.print(f"{len(found)} violations; the store is in {data_dir or temporary / 'data'}.")
        console.print(f"To run it again: {plan.command}", soft_wrap=True)
        sys.exit(1)
    shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
