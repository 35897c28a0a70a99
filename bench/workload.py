"""The plan of a simulation: who is credited how much, in which order, and what is sent twice."""

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NewType

from bench.wire import MICROS_PER_DOLLAR, Micros, UserName

AddIndex = NewType("AddIndex", int)

DOLLARS_MAX: Final = 500
WHOLE_AMOUNT_SHARE: Final = 0.3
DECIMALS_MAX: Final = 6


class Repeat(IntEnum):
    """Whether an add is sent a second time with the same key, and when."""

    NEVER = 0
    AT_ONCE = 1
    """At the same moment, on another connection."""
    SOON = 2
    """As soon as the first is answered."""
    LATE = 3
    """At the end of the run, after every first."""


@dataclass(frozen=True, slots=True)
class WorkloadParameters:
    """What a plan is made from; the same values give the same plan.

    `run_id` begins every user's name, so that runs with different ids share one store. A run that
    repeats an id with otherwise equal values sends what the store already holds: every add must
    come back as a replay.
    """

    users: int
    transactions_per_user: int
    duplicate_share: float
    seed: int
    run_id: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A plan, kept in arrays.

    An add is a number, and belongs to user `number // transactions_per_user`.
    """

    parameters: WorkloadParameters
    amounts: "array[int]"
    repeats: bytes
    order: "array[int]"
    """Every add once, in the order of sending, and then the LATE ones again."""

    @property
    def adds(self) -> int:
        """How many credits must count in the end."""
        return len(self.amounts)

    @property
    def sendings(self) -> int:
        """How many requests are planned, repeats included, retries not."""
        return len(self.amounts) + len(self.repeats) - self.repeats.count(Repeat.NEVER)

    def user_name(self, user: int) -> UserName:
        """The name of the user with that number, counted from 0."""
        return UserName(f"{self.parameters.run_id}-{user:06d}")

    def user_of(self, add: AddIndex) -> UserName:
        """The name of the user whom the add credits."""
        return self.user_name(add // self.parameters.transactions_per_user)

    def key_of(self, add: AddIndex) -> str:
        """The idempotency key of the add, the same on every sending."""
        return f"{self.parameters.run_id}-{self.parameters.seed}-{add}"

    def adds_of(self, user: int) -> Iterator[AddIndex]:
        """The adds that credit the user with that number."""
        count = self.parameters.transactions_per_user
        return (AddIndex(add) for add in range(user * count, (user + 1) * count))


def plan_workload(parameters: WorkloadParameters) -> Workload:
    """Make the plan.

    The seed decides amounts, order and repeats; the run id only names users and keys.
    """
    dice = random.Random(parameters.seed)
    adds = parameters.users * parameters.transactions_per_user
    amounts = array("q", (_amount(dice) for _ in range(adds)))
    repeats = bytes(_repeat(dice, parameters.duplicate_share) for _ in range(adds))
    firsts = list(range(adds))
    dice.shuffle(firsts)
    late = [add for add in firsts if repeats[add] == Repeat.LATE]
    return Workload(parameters, amounts, repeats, array("q", firsts + late))


def _amount(dice: random.Random) -> Micros:
    decimals = 0 if dice.random() < WHOLE_AMOUNT_SHARE else 1 + int(dice.random() * DECIMALS_MAX)
    steps_per_dollar = 10**decimals
    steps = 1 + int(dice.random() * DOLLARS_MAX * steps_per_dollar)
    return Micros(steps * (MICROS_PER_DOLLAR // steps_per_dollar))


def _repeat(dice: random.Random, share: float) -> Repeat:
    if dice.random() >= share:
        return Repeat.NEVER
    return Repeat(1 + int(dice.random() * 3))
