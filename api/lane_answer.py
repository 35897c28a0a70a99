"""Answers of the fast lane: the place of each in its connection's order, and its bytes."""

from typing import TYPE_CHECKING, Final

from api.handlers import JSON_ONLY, Answer
from api.observation import Trace
from api.request_counts import OK, RouteCounts

if TYPE_CHECKING:
    from api.lane_connection import LaneConnection

_JSON_LINE: Final = b"content-type: application/json\r\n"


class Slot:
    """The place of one answer in the order of a connection's answers."""

    __slots__ = ("_begun", "_connection", "_counts", "_request_id", "_trace", "answer")

    def __init__(
        self,
        connection: "LaneConnection",
        begun: float,
        counts: RouteCounts | None,
        request_id: bytes,
        trace: Trace | None,
    ) -> None:
        self._connection = connection
        self._begun = begun
        self._counts = counts
        self._request_id = request_id
        self._trace = trace
        self.answer: bytes | None = None

    def fill(self, answer: Answer) -> None:
        connection = self._connection
        self.answer = connection.encode(answer, self._request_id)
        counts = self._counts
        if counts is not None:
            connection.lane.unmeasured = True
            if answer.status == OK:
                counts.begun.append(self._begun)
            else:
                counts.note(answer.status, self._begun)
        if self._trace is not None:
            self._trace.settled(connection.lane.handlers.step)
            self._trace.end(answer.status)
        connection.advance()


def encode_answer(answer: Answer, request_id: bytes, date_and_end: bytes) -> bytes:
    """The answer as it is sent.

    Args:
        request_id: an empty one where it has none.
        date_and_end: the Date line, and the end of the head.
    """
    body = answer.body
    if answer.headers is JSON_ONLY:
        lines = _JSON_LINE
    else:
        lines = b"".join(
            b"%b: %b\r\n" % (name.lower().encode(), value.encode())
            for name, value in answer.headers
        )
    if not request_id:
        return b"HTTP/1.1 %d \r\n%bcontent-length: %d\r\n%b%b" % (
            answer.status,
            lines,
            len(body),
            date_and_end,
            body,
        )
    return b"HTTP/1.1 %d \r\n%bcontent-length: %d\r\nx-request-id: %b\r\n%b%b" % (
        answer.status,
        lines,
        len(body),
        request_id,
        date_and_end,
        body,
    )
