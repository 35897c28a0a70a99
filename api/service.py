"""The server, put together: the one place that knows all parts."""

import gc
import logging
import signal
import socket
import sys
from contextlib import ExitStack
from functools import partial

import structlog
import trio
from hypercorn.config import Config

from api.app import create_app
from api.handlers import Handlers
from api.hypercorn_server import HypercornServer
from api.settings import Settings
from api.system_clock import SystemClock
from ledger_actors.entry import LogPosition
from ledger_actors.errors import SnapshotFailed
from ledger_actors.identity import ShardId
from ledger_actors.ledger import Ledger
from ledger_actors.snapshotting import SnapshotTaken, keep_snapshots
from persistence.data_directory import locked, open_or_create
from persistence.errors import StoreError
from persistence.mapped_memory import keep_mapping_small
from persistence.recovery import check_joined
from persistence.snapshot_store import SnapshotView, open_snapshot_view
from persistence.snapshotter_process import SnapshotterProcess, open_snapshotter
from persistence.write_ahead_log import LmdbWriteAheadLog, open_write_ahead_log

events = structlog.stdlib.get_logger("bitburst")


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; then finishes what is in flight, and returns.

    Raises:
        StoreError: the address or the data directory cannot be used.
        CorruptStore: the store is not what was written.
        LogFailed: the disk failed; the next start recovers.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(settings.host, settings.port))
        stack.enter_context(locked(settings.data_dir))
        directory = open_or_create(settings.data_dir, settings.shards)
        snapshots = open_snapshot_view(directory.snapshot)
        stack.callback(snapshots.close)
        async with (
            open_write_ahead_log(directory.log) as log,
            open_snapshotter(directory) as snapshotter,
        ):
            await check_joined(log, snapshots.head)
            ledger = Ledger(
                log, snapshots, SystemClock(), directory.shards, settings.limits, _on_restart
            )
            events.info(
                "listening",
                url=_url(listener),
                data_dir=str(settings.data_dir.absolute()),
                shards=directory.shards,
            )
            await _run(settings, listener, ledger, log, snapshots, snapshotter)
    events.info("stopped")


async def _run(
    settings: Settings,
    listener: socket.socket,
    ledger: Ledger,
    log: LmdbWriteAheadLog,
    snapshots: SnapshotView,
    snapshotter: SnapshotterProcess,
) -> None:
    async with trio.open_nursery() as services:
        stop = trio.Event()
        await services.start(_stop_on_signal, stop)
        services.start_soon(_serve_http, ledger, listener, settings, stop)
        await _run_ledger(ledger, log, snapshots, snapshotter, settings)
        services.cancel_scope.cancel()


async def _run_ledger(
    ledger: Ledger,
    log: LmdbWriteAheadLog,
    snapshots: SnapshotView,
    snapshotter: SnapshotterProcess,
    settings: Settings,
) -> None:
    started = trio.current_time()
    # A replay makes objects that stay: the garbage collector would look at them over and over.
    gc.disable()
    recovered = await ledger.recover(_Replaying(log.position))
    gc.freeze()
    gc.enable()
    events.info(
        "recovered",
        users=snapshots.head.users,
        folded_entries=snapshots.head.entries,
        snapshot_position=recovered.snapshot_position,
        replayed_entries=recovered.entries,
        position=recovered.position,
        duration_s=round(trio.current_time() - started, 3),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                keep_snapshots,
                ledger,
                log,
                snapshotter,
                settings.snapshot_policy,
                on_taken=_on_snapshot,
                on_failed=_on_snapshot_failed,
            )
        )
        nursery.start_soon(keep_mapping_small, snapshots)
        await ledger.run()
        nursery.cancel_scope.cancel()


async def _serve_http(
    ledger: Ledger, listener: socket.socket, settings: Settings, stop: trio.Event
) -> None:
    """Serves until it is to stop and has answered what is in flight; then closes the ledger."""
    config = Config()
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    config.keep_alive_timeout = settings.keep_alive_s
    # Hypercorn would close a connection after so many without announcing it: the caller of the
    # next request could not know whether it arrived.
    config.keep_alive_max_requests = sys.maxsize
    config.graceful_timeout = settings.shutdown_s
    app = create_app(
        Handlers(ledger),
        body_bytes_max=settings.body_bytes_max,
        request_timeout_s=settings.request_timeout_s,
    )
    await HypercornServer(app, config, settings.request_timeout_s).serve(listener, stop)
    ledger.close()


async def _stop_on_signal(
    stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            events.info("stopping", signal=signal.Signals(number).name)
            stop.set()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=1024)
    except OSError as error:
        # socket adds to the reason what is said here already.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise StoreError(f"cannot listen on {host} port {port}: {reason}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Replaying:
    """Says how far a long replay has come, once a second."""

    def __init__(self, end: LogPosition) -> None:
        self._end = end
        self._said = trio.current_time()

    def __call__(self, position: LogPosition) -> None:
        if trio.current_time() - self._said >= 1:
            self._said = trio.current_time()
            events.info("replaying", position=position, end=self._end)


def _on_restart(shard: ShardId, error: Exception) -> None:
    events.error("shard restarts", shard=shard, exc_info=error)


def _on_snapshot(taken: SnapshotTaken) -> None:
    events.info("snapshot taken", position=taken.position, duration_s=round(taken.duration_s, 3))


def _on_snapshot_failed(error: SnapshotFailed) -> None:
    events.warning("snapshot failed", reason=str(error))
