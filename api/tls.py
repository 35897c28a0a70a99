"""TLS for sockets that are never waited for."""

import socket
import ssl
from pathlib import Path

import trio

from persistence.errors import StoreError


def tls_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """What a server with this certificate and key needs, for HTTP/1.1 and HTTP/2.

    Args:
        client_ca: authorities, of one of which callers must have a certificate.

    Raises:
        StoreError: they cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise StoreError(f"cannot use {certificate} and {key} for TLS: {error}") from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise StoreError(f"cannot use {client_ca} as authorities: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class TlsSocket:
    """A socket with TLS that behaves as one without: it would block, or it has data.

    The handshake is made along the way. `recv` leaves nothing behind that was decrypted, because
    nothing else would tell that it is there.
    """

    def __init__(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = context.wrap_socket(
            accepted, server_side=True, do_handshake_on_connect=False
        )
        self._shaken = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def under_tls(self) -> ssl.SSLSocket:
        return self._socket

    def shake(self) -> None:
        """Makes the handshake, or the next part of it; does nothing once it is made.

        Raises: as `recv`.
        """
        if self._shaken:
            return
        try:
            self._socket.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        self._shaken = True

    def recv(self, size: int) -> bytes:
        """
        Raises:
            BlockingIOError: nothing has come, or it is not enough to decrypt.
            OSError: the connection is of no use; among them what TLS itself finds wrong.
        """
        self.shake()
        try:
            received = self._socket.recv(size)
            while left := self._socket.pending():
                received += self._socket.recv(left)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return received

    def send(self, data: bytes) -> int:
        """
        Raises: as `recv`.
        """
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def close(self) -> None:
        self._socket.close()


class TlsStream:
    """The same as a stream of trio, for those who wait."""

    def __init__(self, taken: TlsSocket) -> None:
        self._tls = taken
        self.socket = taken.under_tls

    async def do_handshake(self) -> None:
        """
        Raises:
            trio.BrokenResourceError: it failed.
        """
        while True:
            try:
                self._tls.shake()
                return
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._tls.fileno())
            except OSError as error:
                raise trio.BrokenResourceError from error

    def selected_alpn_protocol(self) -> str | None:
        return self.socket.selected_alpn_protocol()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come, at least one byte; nothing at the end.

        Raises:
            trio.BrokenResourceError: the connection is of no use.
        """
        while True:
            try:
                return self._tls.recv(max_bytes or 65_536)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._tls.fileno())
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes) -> None:
        """
        Raises:
            trio.BrokenResourceError: the connection is of no use.
        """
        while data:
            try:
                data = data[self._tls.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._tls.fileno())
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def aclose(self) -> None:
        if self._tls.fileno() >= 0:
            trio.lowlevel.notify_closing(self._tls.fileno())
            self._tls.close()
        await trio.lowlevel.checkpoint()
