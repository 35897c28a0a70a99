"""Draws a scenario from a seed."""

from dataclasses import replace
from random import Random

import msgspec
from simulation.scenario import (
    Ask,
    ClockJumps,
    Crash,
    Deed,
    FailedFsync,
    Fault,
    FlippedBit,
    ForeignRecord,
    FullDisk,
    Look,
    Scenario,
    SlowDisk,
    SnapshotterDies,
    Stall,
    Stop,
    TornTail,
    Wish,
    World,
)

from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import MICROS_MAX, Micros

LASTS_S = 2.5
"""How long callers are busy, about."""
CALLERS_MAX = 6
DEEDS_MAX = 14
RICH = UserId("rich")
"""A user whose balance comes near the limit."""


def draw(seed: int) -> Scenario:
    """The scenario of that seed: the same wherever and whenever it is drawn."""
    rng = Random(f"scenario {seed}")
    world = _world(rng)
    wishes = _Wishes(rng, world.users)
    deeds: list[Deed] = []
    for caller in range(rng.randint(2, CALLERS_MAX)):
        count = rng.randint(3, DEEDS_MAX)
        mean_pause_s = LASTS_S / count
        for _ in range(count):
            pause_s = rng.expovariate(1 / mean_pause_s)
            deeds.append(_deed(rng, caller, pause_s, wishes))
    events = [*deeds, *_faults(rng)]
    return Scenario(seed, world, tuple(enumerate(events)))


def _world(rng: Random) -> World:
    return World(
        users=rng.randint(2, 8),
        shards=rng.choice([1, 2, 4, 8]),
        inbox=rng.choice([4, 1024, 1024]),
        unfolded_entries=rng.choice([20, 60, 1_000_000, 1_000_000]),
        probe_interval_s=rng.choice([0.05, 1.0]),
        snapshot_entries=rng.choice([1, 5, 15, 40, 1000]),
        snapshot_interval_s=rng.choice([0.3, 1.0, 2.0]),
        fsync_s=rng.choice([0.0005, 0.005, 0.05]),
        entries_per_read=rng.choice([1, 3, 7, 5000]),
        entries_per_forgetting=rng.choice([1, 4, 1000]),
        entries_per_fold=rng.choice([1, 6, 20, 100_000]),
        looked_up_together=rng.choice([1, 3, 32]),
        remembered_keys=rng.choice([0, 10, 40, 1_000_000]),
        look_ups_before_learning=rng.choice([1, 2]),
        learned=rng.choice([4, 500]),
        cut_per_commit=rng.choice([1, 8]),
        cut_per_call=rng.choice([1, 256]),
    )


class _Wishes:
    """What callers may want: mostly something new, often something again."""

    def __init__(self, rng: Random, users: int) -> None:
        self._rng = rng
        self._users = [UserId(f"user {number}") for number in range(users)]
        # A few have most of the entries: so their histories have many blocks and pages.
        self._weights = [1 / (number + 1) for number in range(users)]
        self._named: list[Wish] = []
        self._count = 0

    def user(self) -> UserId:
        return self._rng.choices(self._users, self._weights)[0]

    def one(self) -> Wish:
        rng = self._rng
        chance = rng.random()
        if self._named and chance < 0.2:
            return rng.choice(self._named[-20:])
        if self._named and chance < 0.3:
            return rng.choice(self._named)
        if self._named and chance < 0.35:
            return self._spoilt(rng.choice(self._named))
        return self._new()

    def _new(self) -> Wish:
        rng = self._rng
        self._count += 1
        user, amount = self.user(), Micros(rng.randint(1, 1_000_000_000))
        if rng.random() < 0.04:
            user, amount = RICH, Micros(MICROS_MAX // 3 + rng.randint(0, 10))
        key = IdempotencyKey(f"key {self._count}") if rng.random() < 0.7 else None
        wish = Wish(user, amount, key, Reference(f"wish {self._count}"))
        if key is not None:
            self._named.append(wish)
        return wish

    def _spoilt(self, wish: Wish) -> Wish:
        """Another request under a key that was used before."""
        self._count += 1
        if self._rng.random() < 0.5:
            return msgspec.structs.replace(wish, amount=Micros(wish.amount % 1_000_000 + 1))
        return msgspec.structs.replace(wish, reference=Reference(f"wish {self._count}"))


def _deed(rng: Random, caller: int, pause_s: float, wishes: _Wishes) -> Deed:
    if rng.random() < 0.25:
        return Look(caller, pause_s, wishes.user(), rng.choice([1, 1, 1, 2, 2, 3, 4, 9]))
    count = rng.choice([1, 1, 1, 1, 2, 5, 12])
    return Ask(
        caller,
        pause_s,
        tuple(wishes.one() for _ in range(count)),
        bulk=count > 1 and rng.random() < 0.4,
        patience_s=rng.choice([0.001, 0.01, 0.1, 2.0]),
        attempts=rng.choice([1, 2, 5]),
        backoff_s=rng.choice([0.0, 0.01, 0.2, 1.0]),
        defect=rng.choice(["stage", "answer", "stage and answer"]) if rng.random() < 0.03 else "",
    )


def _faults(rng: Random) -> list[Fault]:
    faults: list[Fault] = []
    for _ in range(rng.choice([0, 1, 2, 2, 3, 4])):
        faults += _crashes(rng)
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        faults.append(_trouble(rng))
    if rng.random() < 0.2:
        faults.append(_corruption(rng))
    return faults


def _crashes(rng: Random) -> list[Crash]:
    at_s = rng.uniform(0, LASTS_S * 1.2)
    moment = rng.choice(["", "", "boot", "boot", *Crash.moments])
    steps = rng.choice([rng.randint(0, 3), rng.randint(0, 30), rng.randint(0, 150)])
    crash = Crash(at_s, moment, steps, rng.random() < 0.5, rng.choice([0.0, 0.1, 0.5]))
    if moment == "boot":
        # Something must make it boot first. A recovery takes few steps.
        crash = replace(crash, steps=rng.randint(0, 20))
        return [Crash(at_s, "", 0, crash.power, 0.0), crash]
    return [crash]


def _trouble(rng: Random) -> Fault:
    at_s = rng.uniform(0, LASTS_S)
    for_s = rng.choice([0.02, 0.3, 2.0])
    return rng.choice(
        [
            SlowDisk(at_s, for_s, rng.choice([5.0, 50.0])),
            _full_disk(rng, at_s, for_s),
            _full_disk(rng, at_s, for_s),
            FailedFsync(at_s, "log"),
            FailedFsync(at_s, "snapshot"),
            Stall(at_s, for_s),
            SnapshotterDies(at_s),
            ClockJumps(at_s, -rng.choice([0.5, 3600.0])),
            Stop(at_s),
        ]
    )


def _full_disk(rng: Random, at_s: float, for_s: float) -> FullDisk:
    return FullDisk(
        at_s,
        for_s,
        log_bytes=rng.choice([0, 200]),
        snapshot_bytes=rng.choice([0, 200, 10_000]),
        factor=rng.choice([1.0, 1.0, 10.0, 50.0]),
    )


def _corruption(rng: Random) -> Fault:
    at_s = rng.uniform(0.2, LASTS_S)
    mended_after_s = rng.choice([0.0, 0.5])
    chance = rng.random()
    if chance < 0.25:
        return TornTail(at_s, rng.choice([0, 0, 1, 5, 100]), mended_after_s)
    if chance < 0.35:
        return ForeignRecord(at_s, rng.random(), mended_after_s)
    return FlippedBit(
        at_s,
        rng.choice(["log", "snapshot", "snapshot"]),
        rng.random(),
        rng.random(),
        rng.random() < 0.5,
        mended_after_s,
    )
