"""What is asked for: the loads by name, and their requests. requests.lua makes the same ones."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.store_builder import user_name
from bench.wire import Micros, UserName, balance_request, decimal_text, history_request

MIX_ADDS: Final = 0.7
MIX_BALANCES: Final = 0.2


class Load(StrEnum):
    """One kind of request, or a mix."""

    ADD = "add"
    KEYED = "keyed"
    """Adds, each with a fresh idempotency key."""
    BALANCE = "balance"
    HISTORY = "history"
    """Page 1."""
    MIX = "mix"
    """70 % adds, 20 % balances, 10 % histories."""
    EMPTY = "empty"
    """GET /, of a peer that does nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides the requests of one run."""

    load: Load
    users: int
    """Drawn evenly from users 0 to that."""
    run: str
    """Begins the keys; no two runs on a store may have the same."""
    seed: int
    counted_users: int = 0
    """Of the first so many users, adds are counted one by one."""
    headers: tuple[str, ...] = ()
    """Lines that each request has besides its own."""


def with_headers(authority: str, headers: Sequence[str]) -> str:
    """The value of a Host line, and further lines behind it: so each request has them."""
    return "\r\n".join([authority, *headers])


def amount_of(user: int) -> Micros:
    """What each add credits to the user with that number: so a balance says how many came."""
    return Micros(10_000 * (1 + user * 7919 % 50_000))


class RequestMaker:
    """Makes the requests of a run, one after the other, and counts the adds among them."""

    def __init__(self, plan: Plan, authority: str) -> None:
        self._plan = plan
        self._authority = with_headers(authority, plan.headers)
        self._dice = random.Random(plan.seed)
        self._make = self._kinds()[plan.load]
        self.made = 0
        self.counted = [0] * plan.counted_users

    def __call__(self) -> bytes:
        self.made += 1
        return self._make(int(self._dice.random() * self._plan.users))

    def _kinds(self) -> dict[Load, Callable[[int], bytes]]:
        return {
            Load.ADD: self._add,
            Load.KEYED: self._keyed,
            Load.BALANCE: self._balance,
            Load.HISTORY: self._history,
            Load.MIX: self._mix,
            Load.EMPTY: lambda _: f"GET / HTTP/1.1\r\nHost: {self._authority}\r\n\r\n".encode(),
        }

    def _add(self, user: int, key: str = "") -> bytes:
        if user < len(self.counted):
            self.counted[user] += 1
        body = f'{{"amount":{decimal_text(amount_of(user))}}}'
        return (
            f"POST /users/{user_name(user)}/add HTTP/1.1\r\nHost: {self._authority}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{key}\r\n{body}"
        ).encode()

    def _keyed(self, user: int) -> bytes:
        return self._add(user, f"Idempotency-Key: {self._plan.run}-{self.made}\r\n")

    def _balance(self, user: int) -> bytes:
        return balance_request(self._authority, UserName(user_name(user)))

    def _history(self, user: int) -> bytes:
        return history_request(self._authority, UserName(user_name(user)), 1)

    def _mix(self, user: int) -> bytes:
        drawn = self._dice.random()
        if drawn < MIX_ADDS:
            return self._add(user)
        return self._balance(user) if drawn < MIX_ADDS + MIX_BALANCES else self._history(user)
