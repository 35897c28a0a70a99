"""Reading every balance and every history page back, as bytes.

What they mean is for the verification.
"""

from typing import Final

from bench.caller import Caller
from bench.errors import GaveUpError, UnreadableAnswerError
from bench.latency import LatencyRecording
from bench.phase import ERRORS_MAX, Phase, Setting, run_phase
from bench.tally import Tally
from bench.verification import UserReading
from bench.wire import EMPTY_PAGE, ENTRIES_PER_PAGE, UserName, balance_request, history_request
from bench.workload import Workload

STATUS_OK: Final = 200
# A history longer than planned is read this much further, to tell what is too much.
SURPLUS_PAGES_MAX: Final = 5


class Reading:
    """The second phase of a simulation. Keeps all bodies: some 85 bytes for each entry."""

    def __init__(self, workload: Workload, setting: Setting) -> None:
        self._workload = workload
        self._setting = setting
        self._users = iter(range(workload.parameters.users))
        self._filled_pages = -(-workload.parameters.transactions_per_user // ENTRIES_PER_PAGE)
        self.readings: dict[UserName, UserReading] = {}

    async def run(self) -> Phase:
        """Read everything into `readings`; errors are counted, never raised."""
        # Of each user: the balance, the filled pages, the one after the last.
        requests = self._workload.parameters.users * (1 + self._filled_pages + 1)
        return await run_phase("reads", requests, self._work, self._setting)

    async def _work(self, caller: Caller, latencies: LatencyRecording, tally: Tally) -> None:
        for number in self._users:
            user = self._workload.user_name(number)
            reading = await self._read(user, caller, latencies, tally)
            if reading is not None:
                self.readings[user] = reading
            if tally.errors >= ERRORS_MAX:
                return

    async def _read(
        self, user: UserName, caller: Caller, latencies: LatencyRecording, tally: Tally
    ) -> UserReading | None:
        authority = self._setting.authority
        balance = await self._get(balance_request(authority, user), caller, latencies, tally)
        if balance is None:
            return None
        pages: list[bytes] = []
        for page in range(1, self._filled_pages + 1 + SURPLUS_PAGES_MAX + 1):
            request = history_request(authority, user, page)
            body = await self._get(request, caller, latencies, tally)
            if body is None:
                return None
            pages.append(body)
            if body == EMPTY_PAGE:
                break
        return UserReading(balance, tuple(pages))

    async def _get(
        self, request: bytes, caller: Caller, latencies: LatencyRecording, tally: Tally
    ) -> bytes | None:
        asked_ns = self._setting.clock()
        try:
            answer = await caller.ask(request)
        except (GaveUpError, UnreadableAnswerError) as error:
            tally.error(f"{_target(request)}: {error}")
            return None
        if answer.status != STATUS_OK:
            tally.error(f"{_target(request)}: {answer.status} {answer.body[:200]!r}")
            return None
        latencies.record(asked_ns, self._setting.clock())
        return answer.body


def _target(request: bytes) -> str:
    return request.partition(b" HTTP/")[0].decode("ascii")
