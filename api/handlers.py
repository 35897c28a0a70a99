"""What each endpoint does, whichever server it is reached through."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Final

import msgspec
import trio

from api import bulk_wire, wire
from api.admission import Admission
from api.api_keys import ADMIN, READ, WRITE
from api.limit_hits import Limit, LimitHits
from api.observation import trace_of_request
from api.problem_types import AMOUNT_NOT_POSITIVE, NOT_READY
from api.problems import (
    RETRY_AFTER_S,
    BadRequest,
    NotAdmitted,
    Problem,
    TooManyCredits,
    UnsupportedMediaType,
    alarm_of,
    problem_of,
)
from ledger_actors.bulk import Bulk
from ledger_actors.credit import Credit, Submission
from ledger_actors.errors import CorruptStore, LedgerError
from ledger_actors.group_commit import CommitStep
from ledger_actors.identity import Reference
from ledger_actors.ledger import Ledger
from ledger_actors.money import Micros

Headers = Sequence[tuple[str, str]]

JSON: Final = ("Content-Type", "application/json")
PROBLEM: Final = ("Content-Type", "application/problem+json")
LINES: Final = ("Content-Type", bulk_wire.NDJSON)
NOT_KEPT: Final = ("Cache-Control", "no-store")
CLOSE: Final = ("Connection", "close")
"""The answer is the last one of its connection; HTTP/2 does not say it."""
REPLAYED: Final = ("Idempotent-Replayed", "true")


JSON_ONLY: Final = (JSON,)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a handler says. A struct, because every request makes one: a third of a tuple's cost."""

    status: int
    body: bytes
    headers: Headers = JSON_ONLY
    alarm: str | None = None
    """For the operator, not for the caller: whoever sends the answer logs it."""


Reply = Callable[[Answer], object]
"""Takes the answer: at once, or when what was asked for is durable."""


class Handlers:
    """The endpoints. Each takes what the request says, undecoded, and always has an answer.

    `user` is the path segment as it was sent, percent-encoded; `authorization` is the value of
    that header, or None. The forms that do not wait are for the fast lane, the others are built on
    them.

    Attributes:
        admission: who is let in.
    """

    def __init__(self, ledger: Ledger, admission: Admission, limits: LimitHits) -> None:
        self._ledger = ledger
        self._limits = limits
        self.admission = admission

    @property
    def step(self) -> CommitStep | None:
        """As `Ledger.step`."""
        return self._ledger.step

    def read_clock(self, now_s: float) -> None:
        """Lets limits that depend on time know it.

        Args:
            now_s: of trio's clock. The lane tells it with each of its steps, the forms that wait
                with each request.
        """
        self.admission.now = now_s
        self._ledger.notice_stall(now_s)

    def stranger(self, authorization: bytes | None) -> Answer | None:
        """The answer to who has no API key where one is needed: nothing more is read of such a
        request. None for everyone else."""
        try:
            self.admission.caller(authorization, READ | WRITE | ADMIN)
        except NotAdmitted as error:
            return answer_problem(error)
        return None

    def refused_operator(self, authorization: bytes | None) -> Answer | None:
        """The answer to who may not see how the server does; None for who may."""
        try:
            self.admission.check_operator(authorization)
        except NotAdmitted as error:
            return answer_problem(error)
        return None

    def add_nowait(
        self,
        authorization: bytes | None,
        user: bytes,
        content_type: str | None,
        idempotency_keys: Sequence[str],
        body: bytes,
        reply: Reply,
    ) -> None:
        """`POST /users/{uid}/add`"""
        try:
            uid = self.admission.admit(authorization, WRITE, user)
            key = wire.decode_idempotency_key(idempotency_keys) if idempotency_keys else None
            if content_type is None or content_type == JSON[1]:
                amount, reference = wire.decode_add(body)
            else:
                amount, reference = _decode_typed_add(content_type, body)
            request = Credit(uid, amount, key, reference)
            self._ledger.submit(request, lambda submission: reply(_added(request, submission)))
        except (LedgerError, BadRequest, UnsupportedMediaType, NotAdmitted) as error:
            reply(answer_problem(error))

    async def add(
        self,
        authorization: bytes | None,
        user: bytes,
        content_type: str | None,
        idempotency_keys: Sequence[str],
        body: bytes,
    ) -> Answer:
        """As `add_nowait`."""
        self.read_clock(trio.current_time())
        return await self._reply_of(
            partial(self.add_nowait, authorization, user, content_type, idempotency_keys, body)
        )

    def bulk_nowait(
        self,
        authorization: bytes | None,
        content_type: str | None,
        idempotency_keys: Sequence[str],
        body: bytes,
        reply: Reply,
    ) -> None:
        """`POST /v1/credits:batch`"""
        admission = self.admission
        try:
            caller = admission.caller(authorization, WRITE)
            admission.check_waiting(caller)
            key = wire.decode_idempotency_key(idempotency_keys)
            decoded = bulk_wire.decode_bulk(content_type, key, body)
            requests = [one for one in decoded if not isinstance(one, Exception)]
            if admission.active:
                refused = admission.take_many(caller, len(decoded), requests)
                if refused:
                    decoded = _without(decoded, refused)
                    requests = [one for one in decoded if not isinstance(one, Exception)]
            self._ledger.submit_bulk(requests, lambda bulk: reply(_credited(decoded, bulk)))
        except (
            LedgerError,
            BadRequest,
            UnsupportedMediaType,
            TooManyCredits,
            NotAdmitted,
        ) as error:
            if isinstance(error, TooManyCredits):
                self._limits.note(Limit.BULK_CREDITS)
            reply(answer_problem(error))

    async def bulk(
        self,
        authorization: bytes | None,
        content_type: str | None,
        idempotency_keys: Sequence[str],
        body: bytes,
    ) -> Answer:
        """As `bulk_nowait`."""
        self.read_clock(trio.current_time())
        return await self._reply_of(
            partial(self.bulk_nowait, authorization, content_type, idempotency_keys, body)
        )

    def balance_nowait(self, authorization: bytes | None, user: bytes) -> Answer:
        """`GET /users/{uid}/balance`

        Raises:
            trio.WouldBlock: the user's shard is being rebuilt.
        """
        try:
            uid = self.admission.admit(authorization, READ, user)
            balance = self._ledger.balance_nowait(uid)
        except (LedgerError, BadRequest, NotAdmitted) as error:
            return answer_problem(error)
        return Answer(200, wire.encode_balance(uid, balance))

    async def balance(self, authorization: bytes | None, user: bytes) -> Answer:
        """As `balance_nowait`, once the shard is there."""
        return await self._waiting(user, partial(self.balance_nowait, authorization, user))

    def history_nowait(self, authorization: bytes | None, user: bytes, page: str | None) -> Answer:
        """`GET /users/{uid}/history?page=`

        Raises:
            trio.WouldBlock: the user's shard is being rebuilt.
        """
        try:
            uid = self.admission.admit(authorization, READ, user)
            entries = self._ledger.history_nowait(uid, wire.decode_page(page))
        except (LedgerError, BadRequest, NotAdmitted) as error:
            return answer_problem(error)
        return Answer(200, wire.encode_history(entries))

    async def history(self, authorization: bytes | None, user: bytes, page: str | None) -> Answer:
        """As `history_nowait`, once the shard is there."""
        return await self._waiting(user, partial(self.history_nowait, authorization, user, page))

    async def request_status(self, authorization: bytes | None, user: bytes, key: bytes) -> Answer:
        """`GET /v1/users/{uid}/requests/{key}`"""
        return await self._waiting(
            user, partial(self._request_status_nowait, authorization, user, key)
        )

    def _request_status_nowait(
        self, authorization: bytes | None, user: bytes, key: bytes
    ) -> Answer:
        try:
            uid = self.admission.admit(authorization, READ, user)
            named = wire.decode_key_segment(key)
            status = self._ledger.request_status_nowait(uid, named)
        except (LedgerError, BadRequest, NotAdmitted) as error:
            return answer_problem(error)
        return Answer(200, wire.encode_request_status(uid, named, status), (JSON, NOT_KEPT))

    async def _reply_of(self, start: Callable[[Reply], None]) -> Answer:
        replies: list[Answer] = []
        replied = trio.Event()
        trace = trace_of_request.get()

        def reply(answer: Answer) -> None:
            if trace is not None:
                trace.settled(self.step)
            replies.append(answer)
            replied.set()

        start(reply)
        await replied.wait()
        return replies[0]

    async def _waiting(self, user: bytes, answer: Callable[[], Answer]) -> Answer:
        while True:
            self.read_clock(trio.current_time())
            try:
                return answer()
            except trio.WouldBlock:
                await self._ledger.wait_rebuilt(wire.decode_user(user))

    def healthz(self) -> Answer:
        """`GET /healthz`: the process answers."""
        return answer_message(200, "alive")

    def readyz(self) -> Answer:
        """`GET /readyz`: recovered, and the log can be written."""
        self._ledger.notice_stall(trio.current_time())
        reason = self._ledger.not_ready
        if reason is not None:
            return answer_of(Problem(NOT_READY, reason, RETRY_AFTER_S))
        return answer_message(200, "ready")


def answer_message(status: int, message: str) -> Answer:
    return Answer(status, wire.encode_message(message))


def answer_of(problem: Problem) -> Answer:
    status = problem.type.status
    if problem.type is AMOUNT_NOT_POSITIVE:
        # The wire contract has it so.
        return answer_message(status, problem.detail)
    headers = [PROBLEM]
    if problem.retry_after_s is not None:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    return Answer(status, wire.encode_problem(problem), [*headers, *problem.headers])


def answer_problem(error: Exception) -> Answer:
    answer = answer_of(problem_of(error))
    alarm = alarm_of(error)
    return answer if alarm is None else msgspec.structs.replace(answer, alarm=alarm)


def _decode_typed_add(content_type: str, body: bytes) -> tuple[Micros, Reference | None]:
    is_form = wire.is_form(content_type)
    if not is_form:
        wire.check_content_type(content_type)
    try:
        return wire.decode_add(body)
    except BadRequest:
        # A form is what curl names every body that it was told no type of: the body decides.
        if is_form:
            raise UnsupportedMediaType(content_type) from None
        raise


def _added(request: Credit, submission: Submission) -> Answer:
    if submission.uniform:
        return Answer(200, wire.encode_added(request.user, request.amount))
    try:
        submission.credited()
    except LedgerError as error:
        return answer_problem(error)
    return Answer(200, wire.encode_added(request.user, request.amount), (JSON, REPLAYED))


def _without(
    decoded: Sequence[bulk_wire.Decoded], refused: Mapping[int, NotAdmitted]
) -> Sequence[bulk_wire.Decoded]:
    """The same, with why in the places of the credits that are not admitted."""
    places = count()
    return [
        one if isinstance(one, Exception) else refused.get(next(places), one) for one in decoded
    ]


def _credited(decoded: Sequence[bulk_wire.Decoded], bulk: Bulk) -> Answer:
    if bulk.uniform and len(bulk) == len(decoded):
        return Answer(200, bulk_wire.CREATED_LINE * len(decoded), (LINES,))
    outcomes = iter(bulk.outcomes())
    results = [one if isinstance(one, Exception) else next(outcomes) for one in decoded]
    alarms = [str(one) for one in results if isinstance(one, CorruptStore)]
    alarm = f"{alarms[0]} (credits of the bulk that met such: {len(alarms)})" if alarms else None
    return Answer(200, bulk_wire.encode_outcomes(results), (LINES,), alarm)
