"""Whether many users make adds slower: the same load on stores of different sizes, in turn."""

from contextlib import ExitStack
from typing import Final

from bench.comparison.audit import Audit
from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import FigureName, Sample
from bench.comparison.stage import Stage, build_store, sample_of
from bench.comparison.targets import BITBURST
from bench.loads.requests import Load, Plan
from bench.peers.bitburst import BitBurst
from bench.peers.peer import awake

CONNECTIONS: Final = 64
ENTRIES_PER_USER: Final = 10


def compare_growth(stage: Stage) -> None:
    """Adds to random users of each store.

    Raises:
        BenchError: a store could not be built, or a server not be started or asked.
    """
    setting = stage.setting
    with ExitStack() as up:
        servers: list[tuple[int, BitBurst, Audit]] = []
        for number, users in enumerate(setting.growth_users):
            rounds = rounds_of(users, setting.growth_entries)
            title = f"building a store of {users:,} users, {users * rounds:,} entries"
            stage.told(title, number, len(setting.growth_users))
            store = build_store(setting.folder / f"growth-{users}", users, rounds, setting.seed)
            server = up.enter_context(stage.bitburst(f"growth-{users}", store=store))
            with awake(server):
                servers.append((users, server, Audit(server.url, users)))
        entrants = [_entrant(stage, *one) for one in servers]
        alternate(entrants, setting.repetitions, stage.results, stage.told)
        for users, server, audit in servers:
            with awake(server):
                audited = audit.check()
            stage.results.note(f"adds, {users:,} users", audited.text, audited.wrong)


def rounds_of(users: int, entries_max: int) -> int:
    """Entries of each user: ten, fewer where that would be more than allowed, one at least."""
    return max(1, min(ENTRIES_PER_USER, entries_max // users))


def _entrant(stage: Stage, users: int, server: BitBurst, audit: Audit) -> Entrant:
    def measure(repetition: int) -> Sample:
        seed = stage.setting.seed + repetition
        plan = Plan(Load.ADD, users, f"growth-{repetition}", seed, audit.users)
        outcome, busy = stage.ask(server, plan, CONNECTIONS)
        audit.expect(outcome)
        return sample_of(outcome, busy)

    name = FigureName(BITBURST, f"add, {users:,} users")
    return Entrant(name, "requests/s", stage.generator, stage.setting.pinned, measure)
