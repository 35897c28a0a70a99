"""The bounded queue in front of a shard."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger_actors.credit import Submission
from ledger_actors.errors import Overloaded, ShuttingDown
from ledger_actors.identity import IdempotencyKey, UserId


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    waiting: int
    """Requests."""
    limit: int
    refused: int
    """Submissions that found it full."""


class Inbox:
    """Submissions wait here while an append is in flight; the shard then takes them all.

    It never waits: the caller is told at once where it is full.

    Attributes:
        waiting: how many requests do.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._submissions: list[Submission] = []
        self.waiting = 0
        self._closed = False
        self._refused = 0

    def put(self, submission: Submission) -> None:
        """
        Raises:
            Overloaded: as many requests as the limit wait already. A submission of several may
                take it past the limit, once.
            ShuttingDown: the inbox is closed.
        """
        if self._closed:
            raise ShuttingDown
        if self.waiting >= self._limit:
            self._refused += 1
            raise Overloaded
        self._submissions.append(submission)
        self.waiting += len(submission.requests)

    @property
    def empty(self) -> bool:
        return not self._submissions

    def holds(self, user: UserId, key: IdempotencyKey) -> bool:
        """Whether a request of that user with that key waits. It looks at all that wait."""
        return holds(self._submissions, user, key)

    def take_all(self) -> Sequence[Submission]:
        """Everything that waits."""
        taken, self._submissions = self._submissions, []
        self.waiting = 0
        return taken

    def close(self) -> None:
        """Takes nothing more in; what waits can still be taken."""
        self._closed = True

    def statistics(self) -> InboxStatistics:
        return InboxStatistics(self.waiting, self._limit, self._refused)


def holds(submissions: Sequence[Submission], user: UserId, key: IdempotencyKey) -> bool:
    """Whether a request of that user with that key is among those that are not settled."""
    return any(
        request.key == key and request.user == user
        for submission in submissions
        if not submission.settled
        for request in submission.requests
    )
