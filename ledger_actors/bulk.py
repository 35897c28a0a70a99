"""Many credits that one caller hands in at once."""

from collections.abc import Callable, Sequence

import trio

from ledger_actors.credit import CreditRequest, Outcome, Submission
from ledger_actors.identity import ShardId, shards_of


class Bulk:
    """Requests to many shards. Each stands alone: what is refused of them stops no other.

    Attributes:
        parts: what each shard gets, in one submission.
        uniform: every request made an entry; to be read when it is settled.
        settled: every part is.
    """

    def __init__(
        self,
        requests: Sequence[CreditRequest],
        shards: int,
        on_settled: Callable[["Bulk"], object] | None = None,
    ) -> None:
        self._route = shards_of([request.user for request in requests], shards)
        by_shard: dict[ShardId, list[CreditRequest]] = {shard: [] for shard in self._route}
        for shard, request in zip(self._route, requests, strict=True):
            by_shard[shard].append(request)
        self.parts = {
            shard: Submission(part, self._settle_part) for shard, part in by_shard.items()
        }
        self.uniform = True
        self._on_settled = on_settled
        self._unsettled = len(self.parts)
        self._done = trio.Event()
        if not self.parts:
            self._settle()

    @property
    def settled(self) -> bool:
        return self._unsettled == 0

    def __len__(self) -> int:
        return len(self._route)

    def outcomes(self) -> Sequence[Outcome]:
        """One for each request, in order, once all are settled."""
        of_shard = {shard: iter(part.outcomes) for shard, part in self.parts.items()}
        return [next(of_shard[shard]) for shard in self._route]

    async def wait(self) -> None:
        """Returns when every part is settled."""
        await self._done.wait()

    def _settle_part(self, part: Submission) -> None:
        self._unsettled -= 1
        self.uniform = self.uniform and part.uniform
        if not self._unsettled:
            self._settle()

    def _settle(self) -> None:
        self._done.set()
        if self._on_settled is not None:
            self._on_settled(self)
