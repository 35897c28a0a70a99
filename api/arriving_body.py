"""A request of the fast lane whose body has not all come."""

from api.plain_request import PlainRequest


class ArrivingBody:
    """Keeps what has come of it, and puts it together once.

    Attributes:
        request: its head, understood.
        missing: how many bytes have yet to come.
    """

    __slots__ = ("_head", "_parts", "missing", "request")

    def __init__(self, request: PlainRequest, head: bytes, part: bytes) -> None:
        """
        Args:
            head: as it was sent.
            part: the beginning of the body, less than all of it.
        """
        self.request = request
        self.missing = request.kind.length - len(part)
        self._head = head
        self._parts = [part]

    def take(self, received: bytes) -> None:
        """More of it has come, or the last of it and what follows."""
        self._parts.append(received)
        self.missing -= len(received)

    def whole(self) -> tuple[bytes, bytes]:
        """The body, and what came behind it; once nothing is missing."""
        data = b"".join(self._parts)
        return data[: self.request.kind.length], data[self.request.kind.length :]

    def unfinished(self) -> bytes:
        """Head and body as far as they have come."""
        return self._head + b"".join(self._parts)
