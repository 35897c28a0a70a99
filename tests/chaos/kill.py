"""Kills a server under load, over and over, and audits what is left.

    python tests/chaos/kill.py --rounds 50 --seed 7 --cadence-s 2

The seed decides when and what is killed; how far the server has come by then is the machine's.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random

import click
import trio
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from load import Load
from server_under_load import ServerUnderLoad

ROUNDS_PER_AUDIT = 10
USERS_PER_AUDIT = 40
FOLDING_TIMEOUT_S = 3.0
SNAPSHOT_TIMEOUT_S = 20.0
SERVER_FLAGS = ("--snapshot-entries", "500", "--snapshot-interval-s", "0.2")


class Kill(Enum):
    GROUP = "server and snapshotter"
    FOLDING = "both, inside a snapshot"
    RECOVERING = "both, again in recovery"
    SNAPSHOTTER = "snapshotter alone"


KILL_WEIGHTS = {Kill.GROUP: 4, Kill.FOLDING: 4, Kill.RECOVERING: 3, Kill.SNAPSHOTTER: 1}


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    seed: int
    cadence_s: float
    clients: int

    @property
    def command(self) -> str:
        return (
            f"python tests/chaos/kill.py --rounds {self.rounds} --seed {self.seed} "
            f"--cadence-s {self.cadence_s} --clients {self.clients}"
        )


class KillTest:
    """One run: a server, its callers, and the one who kills it."""

    def __init__(self, plan: Plan, data_dir: Path, console: Console) -> None:
        self._plan = plan
        self._rng = Random(plan.seed)
        self._load = Load(Random(plan.seed + 1))
        self._tested = ServerUnderLoad(data_dir, self._load, *SERVER_FLAGS)
        self._server = self._tested.process
        self._console = console
        self._kills: Counter[Kill] = Counter()

    async def run(self) -> list[str]:
        """Runs to the end, or to the first audit that finds something; returns what it found."""
        try:
            # The very first start is killed too: a store is being made.
            await self._start_and_kill()
            await self._tested.start()
            for first in range(1, self._plan.rounds + 1, ROUNDS_PER_AUDIT):
                last = min(first + ROUNDS_PER_AUDIT - 1, self._plan.rounds)
                await self._rounds(first, last)
                if self._tested.violations:
                    break
            else:
                await self._tested.audit({credit.user for credit in self._load.fates})
                await self._tested.stop()
        except* AssertionError as group:
            self._tested.violations += [str(error) for error in group.exceptions]
        finally:
            self._server.kill()
        return self._tested.violations

    async def _rounds(self, first: int, last: int) -> None:
        """These rounds share their users, which are audited at the end of them."""
        users = [f"user-{first}-{number}" for number in range(USERS_PER_AUDIT)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._load.run, self._plan.clients, users)
            for number in range(first, last + 1):
                await self._round(number)
            self._load.stop()
        await self._tested.audit(set(users))
        await self._tested.verify()

    async def _round(self, number: int) -> None:
        kill = self._rng.choices(list(KILL_WEIGHTS), list(KILL_WEIGHTS.values()))[0]
        await trio.sleep(self._rng.uniform(0.1, 1.0) * self._plan.cadence_s)
        if kill is Kill.SNAPSHOTTER:
            await self._kill_snapshotter()
        else:
            if kill is Kill.FOLDING and not await self._wait_until_folding():
                kill = Kill.GROUP
            self._tested.kill()
            if kill is Kill.RECOVERING:
                await self._start_and_kill()
            await self._tested.start()
        self._kills[kill] += 1
        counts = self._load.counts
        recovered_s = self._tested.recoveries_s[-1]
        self._console.print(
            f"round {number:>3}  {kill.value:<24}  {len(self._load.fates):>7} adds  "
            f"{counts['unanswered']:>5} unanswered  {recovered_s:.2f} s to recover",
            highlight=False,
            soft_wrap=True,
        )

    async def _start_and_kill(self) -> None:
        """A start that does not get far: to some point of it, or to where it recovers."""
        if self._rng.random() < 0.5:
            self._server.start(wait=False)
            await trio.sleep(self._rng.uniform(0.1, 0.8))
        else:
            self._server.start(wait=False)
            listening = await trio.to_thread.run_sync(self._server.wait_for_event, "listening")
            self._load.server_is_up(int(listening["url"].rsplit(":", 1)[1]))
            await trio.sleep(self._rng.uniform(0, 0.02))
        self._tested.kill()

    async def _kill_snapshotter(self) -> None:
        """The server lives on, starts another, and takes snapshots again."""
        killed = set(self._server.snapshotter_pids())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        taken: int | None = None
        deadline = trio.current_time() + SNAPSHOT_TIMEOUT_S
        while trio.current_time() < deadline:
            await trio.sleep(0.05)
            if taken is None and not killed.issuperset(self._server.snapshotter_pids()):
                taken = self._count("snapshot taken")
            if taken is not None and self._count("snapshot taken") > taken:
                return
        self._tested.violations.append("no snapshot was taken after the snapshotter was killed")

    def _count(self, event: str) -> int:
        return sum(one["event"] == event for one in self._server.events())

    async def _wait_until_folding(self) -> bool:
        """Waits for a moment at which the snapshotter does not wait for a request."""
        deadline = trio.current_time() + FOLDING_TIMEOUT_S
        started = False
        while trio.current_time() < deadline:
            started = started or self._count("snapshot taken") > 0
            if started and any(_is_busy(pid) for pid in self._server.snapshotter_pids()):
                await trio.sleep(self._rng.uniform(0, 0.02))
                return True
            await trio.sleep(0.002)
        return False

    def report(self) -> Table:
        counts = self._load.counts
        fates = Counter(fate.value for fate in self._load.fates.values())
        recoveries_s = self._tested.recoveries_s
        table = Table("what", "count", title="kill test")
        rows: dict[str, object] = {"rounds": self._kills.total()}
        rows |= {f"kills: {kill.value}": self._kills[kill] for kill in Kill}
        rows |= {
            "acknowledged adds": fates["acknowledged"],
            "unanswered requests": counts["unanswered"],
            "retries": counts["retries"],
            "  of which had counted": counts["retries that had counted"],
            "replays of acknowledged adds": counts["replays"],
            "answers 503": counts["503"],
            "unknown outcomes": fates["unknown"],
            "recoveries": len(recoveries_s),
            "slowest recovery, with the start": f"{max(recoveries_s, default=0):.2f} s",
            "violations": len(self._tested.violations),
            "seed": self._plan.seed,
        }
        for what, figure in rows.items():
            table.add_row(what, str(figure))
        return table


def _is_busy(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state in "RD"


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--cadence-s", type=click.FloatRange(min=0.1), default=2.0, show_default=True)
@click.option("--clients", type=click.IntRange(min=1, max=1000), default=32, show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new directory, which stays; without it, a temporary one, which stays on failure.",
)
def main(rounds: int, seed: int, cadence_s: float, clients: int, data_dir: Path | None) -> None:
    """Kill a server under load, over and over, and audit what is left."""
    # Asked to end, as by `timeout`, it takes its server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    plan = Plan(rounds, seed, cadence_s, clients)
    temporary = Path(tempfile.mkdtemp(prefix="bitburst-kill-"))
    data = data_dir or temporary / "data"
    test = KillTest(plan, data, console)
    found = trio.run(test.run)
    console.print(test.report())
    for violation in found[:20]:
        console.print(violation, markup=False, highlight=False)
    if found:
        console.print(f"{len(found)} violations; the store is in {data}. To run it again:")
        console.print(f"  {plan.command}", soft_wrap=True)
        sys.exit(1)
    shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
