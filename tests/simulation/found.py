"""Scenarios that found a bug, as small as they could be made. Each bug is gone and stays so.

They are written out, not drawn from their seeds, so that they stay what they are when the drawing
changes. Each name says what went wrong.
"""

from simulation.scenario import Ask, Event, FlippedBit, FullDisk, Scenario, Wish, World

from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import MICROS_MAX, Micros

WORLD = World(
    users=2,
    shards=1,
    inbox=1024,
    unfolded_entries=1_000_000,
    probe_interval_s=0.05,
    snapshot_entries=1,
    snapshot_interval_s=0.3,
    fsync_s=0.005,
    entries_per_read=5000,
    entries_per_forgetting=1000,
    entries_per_fold=100_000,
    looked_up_together=32,
    remembered_keys=1_000_000,
    look_ups_before_learning=2,
    learned=500,
    cut_per_commit=8,
    cut_per_call=256,
)
ANN, RICH = UserId("ann"), UserId("rich")
ONE, TWO = Micros(1), Micros(2)
HALF = Micros(MICROS_MAX // 2 + 1)


def wish(number: int, user: UserId, amount: Micros, key: str | None = None) -> Wish:
    return Wish(
        user,
        amount,
        None if key is None else IdempotencyKey(key),
        Reference(f"wish {number}"),
    )


def ask(pause_s: float, *wishes: Wish, defect: str = "") -> Ask:
    return Ask(0, pause_s, wishes, False, 2.0, 1, 0.0, defect)


def scenario(seed: int, *events: Event) -> Scenario:
    return Scenario(seed, WORLD, tuple(enumerate(events)))


FULL = FullDisk(0.0, 1.0, log_bytes=0, snapshot_bytes=10_000, factor=1.0)
FULL_AND_SLOW = FullDisk(0.05, 3.0, log_bytes=0, snapshot_bytes=10_000, factor=50.0)

FOUND = {
    "refused for a key that only a refused entry had": scenario(
        619, FULL, ask(0.1, wish(1, ANN, ONE, "key"), wish(2, ANN, TWO, "key"))
    ),
    "refused for the limit that only a refused entry would have reached": scenario(
        98, FULL, ask(0.1, wish(1, RICH, HALF), wish(2, RICH, HALF))
    ),
    "the server ended because a caller raised over a restart": scenario(
        298, ask(0.1, wish(1, ANN, ONE), wish(2, ANN, ONE), defect="stage and answer")
    ),
    "the server ended because a caller raised over a refusal": scenario(
        147, FULL, ask(0.1, wish(1, ANN, ONE), wish(2, ANN, ONE), defect="answer")
    ),
    "an account stayed in memory after its entries were folded": scenario(
        216,
        ask(0.01, wish(1, ANN, ONE)),
        FULL_AND_SLOW,
        Ask(0, 0.05, (wish(2, ANN, ONE),), False, 2.0, attempts=4, backoff_s=0.0),
    ),
    "a history was served with a bit flipped": scenario(
        1237,
        ask(0.01, *(wish(number, ANN, ONE) for number in range(17))),
        FlippedBit(1.0, "snapshot", place=0.7, bit=0.5, running=True, mended_after_s=0.5),
    ),
}
