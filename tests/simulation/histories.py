"""What callers saw of each account, and whether one account can have shown all of it.

An account is a list that only grows, so what was seen of it comes down to its length: a reader saw
it, an acknowledged credit made it so long. It is linearizable (Herlihy and Wing, 1990) if a length
can be chosen for each operation, between its begin and its end, that never falls. As lengths only
grow, that is so exactly if no operation that began after another had ended saw less than it.
"""

from typing import NamedTuple

NO_BOUND = 2**62


class Observation(NamedTuple):
    """
    Attributes:
        reached: the list was at least so long when the operation ended.
        not_past: it was no longer than that when the operation began.
    """

    began: int
    ended: int
    reached: int
    not_past: int
    what: str


class Observations:
    """Gathers what is seen, in the order in which it is seen."""

    def __init__(self) -> None:
        self._time = 0
        self._of_user: dict[str, list[Observation]] = {}

    def now(self) -> int:
        """A moment later than all before."""
        self._time += 1
        return self._time

    def read(self, user: str, began: int, length: int) -> None:
        """Someone saw just so many entries."""
        self._add(user, began, length, length, f"{length} entries read")

    def at_most(self, user: str, began: int, length: int) -> None:
        self._add(user, began, 0, length, f"at most {length} entries read")

    def at_least(self, user: str, began: int, number: int) -> None:
        """Someone was told of an entry that had been made before."""
        self._add(user, began, number, NO_BOUND, f"entry {number} replayed")

    def made(self, user: str, began: int, number: int) -> None:
        """Someone was told that he made the entry, so it was not there before."""
        self._add(user, began, number, number - 1, f"entry {number} made")

    def _add(self, user: str, began: int, reached: int, not_past: int, what: str) -> None:
        observation = Observation(began, self.now(), reached, not_past, what)
        self._of_user.setdefault(user, []).append(observation)

    def contradiction(self) -> str | None:
        """Two operations, one after the other, that saw the list shrink; None if there are none."""
        for user, observations in self._of_user.items():
            found = _contradiction(observations)
            if found is not None:
                earlier, later = found
                return f"{user}: {later.what} after {earlier.what} ({earlier}, {later})"
        return None


def _contradiction(observations: list[Observation]) -> tuple[Observation, Observation] | None:
    """Observations are in the order of their ends."""
    ended = iter(observations)
    candidate = next(ended, None)
    longest: Observation | None = None
    for observation in sorted(observations):
        while candidate is not None and candidate.ended < observation.began:
            if longest is None or candidate.reached > longest.reached:
                longest = candidate
            candidate = next(ended, None)
        if longest is not None and longest.reached > observation.not_past:
            return longest, observation
    return None
