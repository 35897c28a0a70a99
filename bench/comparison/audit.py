"""Reading back what a load was told: each acknowledged credit is there, and none that was never
sent."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.errors import UnreadableAnswerError
from bench.loads.closed import OPEN_SECONDS_MAX, first_request
from bench.loads.generator import site
from bench.loads.lean_client import LeanClient
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, amount_of, with_headers
from bench.store_builder import user_name
from bench.wire import Micros, UserName, balance_from_body, balance_request

USERS_MAX: Final = 2_000
CONNECTIONS: Final = 64
POLL_SECONDS: Final = 0.2
READ_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Audited:
    """What was found in the balances of some users."""

    users: int
    credits_sent: int
    """To them."""
    credits_found: int
    unacknowledged: int
    """Requests cut off by the end of a run, or refused: of so many it is unknown whether they
    count."""
    wrong: int
    """Credits lost, or counted without having been sent."""

    @property
    def text(self) -> str:
        """In words, for the report."""
        found = f"{self.credits_found:,} of {self.credits_sent:,} credits sent to {self.users:,}"
        verdict = f"{self.wrong:,} WRONG" if self.wrong else "nothing lost, nothing doubled"
        return f"{found} users found, {self.unacknowledged:,} requests cut off: {verdict}"


class Audit:
    """Of one server, from before its first load to after its last."""

    def __init__(self, url: str, users: int, headers: tuple[str, ...] = ()) -> None:
        """Reads the balances as they are before.

        Args:
            headers: lines that each request has to carry.

        Raises:
            BenchError: the server did not answer as it should.
        """
        self._url = url
        self._headers = headers
        self.users = min(users, USERS_MAX)
        self._before = read_balances(url, self.users, headers)
        self._sent = [0] * self.users
        self._unacknowledged = 0

    def expect(self, outcome: Outcome) -> None:
        """Notes what one run has sent."""
        self._unacknowledged += outcome.unacknowledged
        for user, count in enumerate(outcome.counted):
            self._sent[user] += count

    def check(self) -> Audited:
        """Reads the balances as they are now.

        Raises:
            BenchError: the server did not answer as it should.
        """
        now = read_balances(self._url, self.users, self._headers)
        grown = [Micros(after - before) for after, before in zip(now, self._before, strict=True)]
        return compare(self._sent, grown, self._unacknowledged)


def compare(sent: Sequence[int], grown: Sequence[Micros], unacknowledged: int) -> Audited:
    """What was sent to each user, against how much its balance has grown."""
    wrong = missing = found = 0
    for user, (count, micros) in enumerate(zip(sent, grown, strict=True)):
        credited, rest = divmod(micros, amount_of(user))
        found += credited
        missing += max(0, count - credited)
        wrong += max(0, credited - count) + (rest != 0)
    wrong += max(0, missing - unacknowledged)
    return Audited(len(sent), sum(sent), found, unacknowledged, wrong)


def read_balances(url: str, users: int, headers: tuple[str, ...] = ()) -> list[Micros]:
    """The balances of users 0 to that.

    Raises:
        BenchError: the server did not answer as it should.
    """
    where = site(url)
    names = [UserName(user_name(number)) for number in range(users)]
    balances = [Micros(0)] * users
    asked: dict[int, int] = {}
    waiting = iter(range(users))
    with LeanClient(where.address) as client:
        first = first_request(Load.BALANCE, where.authority, headers)
        authority = with_headers(where.authority, headers)
        client.open(min(CONNECTIONS, users), first, OPEN_SECONDS_MAX)
        for channel, user in zip(client.channels, waiting, strict=False):
            asked[channel.number] = user
            client.send(channel, balance_request(authority, names[user]))
        until = time.monotonic() + READ_SECONDS_MAX
        while asked:
            if client.lost or time.monotonic() > until:
                raise UnreadableAnswerError("balances could not be read back")
            for channel, answer in client.poll(POLL_SECONDS):
                user = asked.pop(channel.number)
                try:
                    balances[user] = balance_from_body(names[user], answer.body)
                except ValueError as error:
                    raise UnreadableAnswerError(str(error)) from None
                following = next(waiting, None)
                if following is not None:
                    asked[channel.number] = following
                    client.send(channel, balance_request(authority, names[following]))
    return balances
