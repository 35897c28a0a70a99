"""Damages a small store in every way of one kind, one at a time, and opens it after each.

    python tests/damage/damage.py                             every bit of the log's pages
    python tests/damage/damage.py --kind truncations          every length of its file
    python tests/damage/damage.py --file snapshot/data.mdb --judge verify
    python tests/damage/damage.py --sample 2000 --seed 7

What opens the store is a process of its own, which may die: that is found too.
"""

import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

import click
import trio
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parent))

from damaged_store import ALLOWED, Damage, DamagedStore, File, Finding, Judge, Kind, Outcome

from bench.progress import ProgressBar

CASE_TIMEOUT_S = 20.0
SHOWN_MAX = 20


class Opener:
    """A process that tries one case after the other, and is started again when it dies."""

    def __init__(self, parent: Path, damage: Damage, cases: Sequence[int]) -> None:
        self._parent = parent
        self._damage = damage
        self._cases = cases
        self._done = 0
        self._start()

    def _start(self) -> None:
        context = get_context("forkserver")
        path = Path(tempfile.mkdtemp(prefix="opener-", dir=self._parent)) / "data"
        self.answers, theirs = context.Pipe(duplex=False)
        self._heard = time.monotonic()
        arguments = (path, self._damage, self._cases[self._done :], theirs)
        self._process = context.Process(target=_try_each, args=arguments)
        self._process.start()
        theirs.close()

    @property
    def running(self) -> bool:
        return self._done < len(self._cases)

    def findings(self) -> Iterator[Finding]:
        """What was found since the last call; a death is one."""
        try:
            while self.running and self.answers.poll():
                found = self.answers.recv()
                self._heard = time.monotonic()
                self._done += 1
                yield found
        except EOFError:
            yield self._ended(Outcome.DIED)
        else:
            if self.running and time.monotonic() - self._heard > CASE_TIMEOUT_S:
                self._process.kill()
                yield self._ended(Outcome.HUNG)

    def _ended(self, outcome: Outcome) -> Finding:
        self._process.join()
        self.answers.close()
        found = Finding(self._cases[self._done], outcome, f"exit code {self._process.exitcode}")
        self._done += 1
        if self.running:
            self._start()
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.answers.close()


def _try_each(path: Path, damage: Damage, cases: Sequence[int], answers: Connection) -> None:
    """The opener's own side."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What a dying process says of itself is not for the one who watches.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    trio.run(_answer_each, DamagedStore(path, damage), cases, answers)


async def _answer_each(store: DamagedStore, cases: Sequence[int], answers: Connection) -> None:
    for case in cases:
        answers.send(await store.try_case(case))


def try_all(
    parent: Path, damage: Damage, cases: Sequence[int], processes: int, bar: ProgressBar
) -> Sequence[Finding]:
    found: list[Finding] = []
    shares = [cases[number::processes] for number in range(processes)]
    openers = [Opener(parent, damage, share) for share in shares if share]
    try:
        while running := [opener for opener in openers if opener.running]:
            wait([opener.answers for opener in running], timeout=1.0)
            for opener in running:
                found += opener.findings()
            bar(f"{damage.kind.value} of {damage.file.value}", len(found), len(cases))
    finally:
        for opener in openers:
            opener.end()
    return found


def report(damage: Damage, pages: Sequence[str], found: Sequence[Finding]) -> Table:
    """How often what became of a damage, by the page that it was in."""
    counts = Counter((damage.place(one.case), one.outcome) for one in found)
    outcomes = [one for one in Outcome if one in ALLOWED or any(one is o for _, o in counts)]
    title = f"{damage.kind.value} of {damage.file.value}, judged by {damage.judge.value}"
    table = Table("page", *(outcome.value for outcome in outcomes), title=title)
    for place, page in enumerate([*pages, "behind the last"]):
        row = [counts[place, outcome] for outcome in outcomes]
        if any(row):
            table.add_row(page, *(f"{count:,}" for count in row))
    totals = Counter(one.outcome for one in found)
    table.add_section()
    table.add_row(f"all {len(found):,}", *(f"{totals[outcome]:,}" for outcome in outcomes))
    return table


def _memory_disk() -> str | None:
    """Where an fsync costs nothing: nothing here depends on one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@click.command()
@click.option("--file", type=click.Choice([one.value for one in File]), default=File.LOG.value)
@click.option("--kind", type=click.Choice([one.value for one in Kind]), default=Kind.FLIPS.value)
@click.option("--judge", type=click.Choice([one.value for one in Judge]), default=Judge.START.value)
@click.option("--sample", type=click.IntRange(min=1), help="So many cases; without it, all.")
@click.option("--seed", type=int, default=7, show_default=True, help="Which ones.")
@click.option(
    "--part",
    type=(click.IntRange(min=1), click.IntRange(min=1)),
    default=(1, 1),
    help="`2 3` is the second third of them.",
)
@click.option("--case", "only", type=click.IntRange(min=0), help="This case alone.")
@click.option("--processes", type=click.IntRange(1, 64), default=os.cpu_count() or 1)
def main(
    file: str,
    kind: str,
    judge: str,
    sample: int | None,
    seed: int,
    part: tuple[int, int],
    only: int | None,
    processes: int,
) -> None:
    """Damage a small store in every way of one kind, and open it after each."""
    damage = Damage(File(file), Kind(kind), Judge(judge))
    console = Console()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bitburst-damage-", dir=_memory_disk()) as directory:
        parent = Path(directory)
        whole = DamagedStore(parent / "whole", damage)
        cases: Sequence[int] = whole.cases
        if sample is not None and sample < len(cases):
            cases = sorted(Random(seed).sample(cases, sample))
        cases = cases[part[0] - 1 :: part[1]]
        if only is not None:
            cases = [only]
        with ProgressBar(console) as bar:
            found = try_all(parent, damage, cases, processes, bar)
        console.print(report(damage, whole.pages, found))
    console.print(f"{len(found):,} cases in {time.monotonic() - started:.1f} s")
    wrong = [one for one in found if one.outcome not in ALLOWED]
    for one in wrong[:SHOWN_MAX]:
        console.print(f"{one.outcome.value}: {one.detail}. To see it again:", markup=False)
        console.print(
            f"  python tests/damage/damage.py --file {file} --kind {kind} --judge {judge} "
            f"--case {one.case}",
            soft_wrap=True,
            highlight=False,
        )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
