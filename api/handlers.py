"""What each endpoint does, whichever server it is reached through."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from api import wire
from api.problems import RETRY_AFTER_S, BadRequest, UnsupportedMediaType, problem_of
from ledger_actors import Ledger, Micros
from ledger_actors.errors import LedgerError

Headers = Sequence[tuple[str, str]]

JSON: Final = ("Content-Type", "application/json")
REPLAYED: Final = ("Idempotent-Replayed", "true")


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Headers = (JSON,)


class Handlers:
    """The endpoints. Each takes what the request says, undecoded, and always has an answer.

    `user` is the path segment as it was sent, percent-encoded.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def add(
        self,
        user: bytes,
        content_type: str | None,
        idempotency_keys: Sequence[str],
        body: bytes,
    ) -> Answer:
        """`POST /users/{uid}/add`"""
        try:
            uid = wire.decode_user(user)
            key = wire.decode_idempotency_key(idempotency_keys)
            amount = _amount(content_type, body)
            credited = await self._ledger.credit(uid, amount, key)
        except (LedgerError, BadRequest, UnsupportedMediaType) as error:
            return answer_problem(error)
        headers = (JSON, REPLAYED) if credited.replayed else (JSON,)
        return Answer(200, wire.encode_added(uid, amount), headers)

    async def balance(self, user: bytes) -> Answer:
        """`GET /users/{uid}/balance`"""
        try:
            uid = wire.decode_user(user)
            balance = await self._ledger.balance(uid)
        except (LedgerError, BadRequest) as error:
            return answer_problem(error)
        return Answer(200, wire.encode_balance(uid, balance))

    async def history(self, user: bytes, page: str | None) -> Answer:
        """`GET /users/{uid}/history?page=`"""
        try:
            uid = wire.decode_user(user)
            entries = await self._ledger.history(uid, wire.decode_page(page))
        except (LedgerError, BadRequest) as error:
            return answer_problem(error)
        return Answer(200, wire.encode_history(entries))

    async def healthz(self) -> Answer:
        """`GET /healthz`: the process answers."""
        return answer_message(200, "alive")

    async def readyz(self) -> Answer:
        """`GET /readyz`: recovered, and the log can be written."""
        reason = self._ledger.not_ready
        if reason is not None:
            return answer_message(503, reason, RETRY_AFTER_S)
        return answer_message(200, "ready")


def answer_message(status: int, message: str, retry_after_s: int | None = None) -> Answer:
    headers = [JSON]
    if retry_after_s is not None:
        headers.append(("Retry-After", str(retry_after_s)))
    return Answer(status, wire.encode_message(message), headers)


def answer_problem(error: Exception) -> Answer:
    return answer_message(*problem_of(error))


def _amount(content_type: str | None, body: bytes) -> Micros:
    if not wire.is_form(content_type):
        wire.check_content_type(content_type)
        return wire.decode_amount(body)
    # A form is what curl names every body that it was told no type of: the body decides.
    try:
        return wire.decode_amount(body)
    except BadRequest:
        raise UnsupportedMediaType(str(content_type)) from None
