"""Many keep-alive connections, driven by one epoll loop without a task for each.

A request costs a third of what it costs over `bench.http_client`: the generator of a fast server
must not be what is measured.
"""

import errno
import os
import select
import socket
import time
from typing import Final

from bench.errors import ConnectionLostError, UnreadableAnswerError
from bench.http_client import Address, Answer, AnswerReader

RECEIVE_BYTES: Final = 262_144
OPENED_AT_A_TIME: Final = 64
"""Fewer than any server's backlog: a connection that overflows it is tried again after a second."""
OPENING_POLL_SECONDS: Final = 0.2


class Channel:
    """One connection. At most one request is under way on it."""

    __slots__ = ("lost", "number", "reader", "socket", "unsent")

    def __init__(self, number: int, opened: socket.socket) -> None:
        self.number = number
        self.socket = opened
        self.reader = AnswerReader()
        self.unsent = memoryview(b"")
        self.lost = ""
        """Why it is of no use any more."""


class LeanClient:
    """Use as a context manager; then `open`, and `send` and `poll` in turn."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._epoll = select.epoll()
        self._by_fd: dict[int, Channel] = {}
        self.channels: list[Channel] = []
        self.lost: list[Channel] = []
        """Channels that broke; whoever sends takes them from here."""

    def __enter__(self) -> "LeanClient":
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self.channels:
            channel.socket.close()
        self._epoll.close()

    def open(self, connections: int, first_request: bytes, seconds_max: float) -> None:
        """Opens that many connections, each of which gets one answer: the server has taken it.

        Raises:
            ConnectionLostError: one could not be opened, or all of them not in time.
            UnreadableAnswerError: what came was no HTTP.
        """
        until = time.monotonic() + seconds_max
        while len(self.channels) < connections:
            count = min(OPENED_AT_A_TIME, connections - len(self.channels))
            opened = [self._connect() for _ in range(count)]
            for channel in opened:
                self.send(channel, first_request)
            waiting = {channel.number for channel in opened}
            while waiting:
                if self.lost:
                    raise ConnectionLostError(self.lost[0].lost)
                waiting -= {channel.number for channel, _ in self.poll(OPENING_POLL_SECONDS)}
                if time.monotonic() > until:
                    raise ConnectionLostError(
                        f"{connections} connections could not be opened within {seconds_max:g} s"
                    )

    def send(self, channel: Channel, request: bytes) -> None:
        """Sends, now or when there is room. A connection that breaks shows in `lost`."""
        if channel.lost:
            return
        try:
            sent = channel.socket.send(request)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lose(channel, f"the connection broke: {error}")
            return
        if sent < len(request):
            channel.unsent = memoryview(request)[sent:]
            self._epoll.modify(channel.socket, select.EPOLLIN | select.EPOLLOUT)

    def poll(self, seconds_max: float) -> list[tuple[Channel, Answer]]:
        """Waits until something comes, and returns the answers that are complete.

        Raises:
            UnreadableAnswerError: what came was no HTTP, or answers nothing that was asked.
        """
        # epoll rounds its timeout up to milliseconds; select does not.
        select.select((self._epoll,), (), (), max(0.0, seconds_max))
        answered = []
        for fd, ready in self._epoll.poll(0):
            channel = self._by_fd.get(fd)
            if channel is None:
                continue
            if ready & select.EPOLLOUT:
                self._send_rest(channel)
            if ready & ~select.EPOLLOUT and (answer := self._receive(channel)) is not None:
                answered.append((channel, answer))
        return answered

    def _connect(self) -> Channel:
        connecting = socket.socket(self._address.family, socket.SOCK_STREAM)
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(len(self.channels), connecting)
        self.channels.append(channel)
        refused = connecting.connect_ex(self._address.sockaddr)
        if refused not in (0, errno.EINPROGRESS):
            raise ConnectionLostError(f"cannot connect: {os.strerror(refused)}")
        self._by_fd[connecting.fileno()] = channel
        self._epoll.register(connecting, select.EPOLLIN)
        return channel

    def _send_rest(self, channel: Channel) -> None:
        try:
            sent = channel.socket.send(channel.unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(channel, f"the connection broke: {error}")
            return
        channel.unsent = channel.unsent[sent:]
        if not channel.unsent:
            self._epoll.modify(channel.socket, select.EPOLLIN)

    def _receive(self, channel: Channel) -> Answer | None:
        if channel.lost:
            return None
        try:
            received = channel.socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._lose(channel, f"the connection broke: {error}")
            return None
        if not received:
            self._lose(channel, "the server closed the connection")
            return None
        channel.reader.feed(received)
        answers = channel.reader.answers
        if len(answers) > 1:
            raise UnreadableAnswerError("the server sent an answer that nobody asked for")
        return answers.popleft() if answers else None

    def _lose(self, channel: Channel, why: str) -> None:
        channel.lost = why
        self.lost.append(channel)
        self._by_fd.pop(channel.socket.fileno(), None)
        channel.socket.close()
