"""Sending the planned credits, some of them twice, and noting what the server confirmed."""

from typing import Final

from bench.caller import Caller, Clock
from bench.errors import GaveUpError, UnreadableAnswerError
from bench.feed import Feed
from bench.latency import LatencyRecording
from bench.phase import ERRORS_MAX, Phase, Setting, run_phase
from bench.tally import Tally
from bench.verification import PlannedUser
from bench.wire import Micros, add_request, added_body
from bench.workload import AddIndex, Workload

STATUS_OK: Final = 200
REPLAYED: Final = b"idempotent-replayed"


class Adding:
    """The first phase of a simulation."""

    def __init__(self, workload: Workload, setting: Setting) -> None:
        self._workload = workload
        self._setting = setting
        self._authority = setting.authority
        self._clock: Clock = setting.clock
        self._feed = Feed(workload, setting.connections)
        # How often each add was answered with 200.
        self._answered = bytearray(workload.adds)

    async def run(self) -> Phase:
        """Send everything; errors are counted, never raised."""
        phase = await run_phase("adds", self._workload.sendings, self._work, self._setting)
        unmarked = self._repeats_answered - phase.tally.replays
        # A retry may be marked as well, so there may be more marks than repeats, never fewer.
        if unmarked > 0:
            phase.tally.error(f"{unmarked} repeats were answered without Idempotent-Replayed: true")
        return phase

    @property
    def confirmed(self) -> int:
        """Credits answered with 200 at least once."""
        return len(self._answered) - self._answered.count(0)

    def planned_user(self, user: int) -> PlannedUser:
        """What the history of the user with that number must hold, by the answers that came."""
        confirmed: list[Micros] = []
        unconfirmed: list[Micros] = []
        for add in self._workload.adds_of(user):
            kind = confirmed if self._answered[add] else unconfirmed
            kind.append(Micros(self._workload.amounts[add]))
        return PlannedUser(self._workload.user_name(user), tuple(confirmed), tuple(unconfirmed))

    @property
    def _repeats_answered(self) -> int:
        return sum(self._answered) - self.confirmed

    async def _work(self, caller: Caller, latencies: LatencyRecording, tally: Tally) -> None:
        while (add := await self._feed.take()) is not None:
            for _ in range(self._feed.sendings_in_a_row(add)):
                await self._send(add, caller, latencies, tally)
            if tally.errors >= ERRORS_MAX:
                self._feed.stop()

    async def _send(
        self, add: AddIndex, caller: Caller, latencies: LatencyRecording, tally: Tally
    ) -> None:
        workload = self._workload
        user = workload.user_of(add)
        amount = Micros(workload.amounts[add])
        request = add_request(self._authority, user, amount, workload.key_of(add))
        asked_ns = self._clock()
        try:
            answer = await caller.ask(request)
        except (GaveUpError, UnreadableAnswerError) as error:
            tally.error(f"add for {user}: {error}")
            return
        if answer.status != STATUS_OK or answer.body != added_body(user, amount):
            tally.error(f"add for {user}: {answer.status} {answer.body[:200]!r}")
            return
        latencies.record(asked_ns, self._clock())
        self._answered[add] += 1
        if answer.header(REPLAYED) == b"true":
            tally.replays += 1
