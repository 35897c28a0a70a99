"""What can go wrong while a bench talks to a server."""

import click


class BenchError(Exception):
    """The base of all of them: one sentence that says what happened."""


class UnusableUrlError(BenchError):
    """The URL is not of the form http://host:port."""


class ConnectionLostError(BenchError):
    """The connection could not be opened, broke, or stayed silent: the outcome is unknown."""


class UnreadableAnswerError(BenchError):
    """The server sent bytes that are no HTTP/1.1 answer, or an answer past a stated limit."""


class GaveUpError(BenchError):
    """All attempts at one request were refused or lost: its outcome is unknown."""


class ServerNotReadyError(BenchError):
    """No server at the URL says that it is ready."""


class TooManyConnectionsError(BenchError):
    """The system does not let this process open that many sockets."""


class BuildFailedError(BenchError):
    """A store to measure could not be built."""


class LoadFailedError(BenchError):
    """A load generator could not do its work."""


class PeerFailedError(BenchError):
    """A peer could not be started, or ended by itself."""


class UnusableError(click.ClickException):
    """Nothing could be measured, for the reason that is shown."""

    exit_code = 2
