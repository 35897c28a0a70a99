"""The server, put together: the one place that knows all parts."""

import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio

from api.admission import Admission
from api.event_loop_lag import EventLoopLag
from api.http_service import Listener, serve_http
from api.metrics import Metrics
from api.reload import CurrentKeys, Reread, keep_current, reload_on_signal
from api.settings import Settings
from api.store_metrics import Recovery, StoreMetrics
from api.system_clock import SystemClock
from ledger_actors.entry import LogPosition
from ledger_actors.errors import SnapshotFailed
from ledger_actors.identity import ShardId
from ledger_actors.ledger import Ledger
from ledger_actors.snapshotting import SnapshotTaken, keep_snapshots
from persistence.backup_mark import read_mark
from persistence.data_directory import DataDirectory, locked, open_or_create
from persistence.errors import StoreError
from persistence.mapped_memory import keep_mapping_small
from persistence.migration import migrate
from persistence.recovery import check_joined
from persistence.snapshot_store import SnapshotView, open_snapshot_view
from persistence.snapshotter_process import SnapshotterProcess, open_snapshotter
from persistence.write_ahead_log import HeldForBackup, LmdbWriteAheadLog, open_write_ahead_log

if TYPE_CHECKING:
    from api.tracing import RequestTracer

SWITCH_INTERVAL_S: Final = 0.0005
"""How long the log's thread waits for the interpreter at most, several times a commit."""
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Entries are made by the thousand and stay until they are folded; none is ever part of a cycle."""

events = structlog.stdlib.get_logger("bitburst")


async def serve(settings: Settings, reread: Reread) -> None:
    """Serves until SIGTERM or SIGINT; then finishes what is in flight, and returns.

    Args:
        reread: reads the settings again, at SIGHUP.

    Raises:
        StoreError: the address or the data directory cannot be used.
        CorruptStore: the store is not what was written.
        LogFailed: the disk failed; the next start recovers.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(closing(Listener(settings)))
        stack.enter_context(locked(settings.data_dir))
        migrate(settings.data_dir, _on_migration)
        admission = Admission()
        keys = CurrentKeys(settings.keys_path, admission, settings.rates)
        _check_exposure(listener, admission, settings)
        directory = open_or_create(settings.data_dir, settings.shards)
        snapshots = open_snapshot_view(directory.snapshot)
        stack.callback(snapshots.close)
        async with (
            open_write_ahead_log(directory.log, _held_for_backup(settings, directory)) as log,
            open_snapshotter(directory) as snapshotter,
            _tracing(settings) as tracer,
        ):
            await check_joined(log, snapshots.head)
            ledger = Ledger(
                log, snapshots, SystemClock(), directory.shards, settings.limits, _on_restart
            )
            if not admission.needs_keys:
                events.warning("there are no API keys: anyone who reaches the server may ask")
            events.info(
                "listening",
                url=listener.url,
                data_dir=str(settings.data_dir.absolute()),
                shards=directory.shards,
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(reload_on_signal, settings, reread, keys)
                nursery.start_soon(keep_current, keys, admission)
                await _run(
                    settings, listener, admission, ledger, log, snapshots, snapshotter, tracer
                )
                nursery.cancel_scope.cancel()
    events.info("stopped")


def _check_exposure(listener: Listener, admission: Admission, settings: Settings) -> None:
    """
    Raises:
        StoreError: others than this machine could credit and read, and nobody has allowed that.
    """
    if listener.reached_from_elsewhere and not (admission.needs_keys or settings.allow_anonymous):
        raise StoreError(
            f"without API keys the server listens on loopback only, not on {settings.host}: "
            "make a key (bitburst keys create), or say --allow-anonymous"
        )


async def _run(
    settings: Settings,
    listener: Listener,
    admission: Admission,
    ledger: Ledger,
    log: LmdbWriteAheadLog,
    snapshots: SnapshotView,
    snapshotter: SnapshotterProcess,
    tracer: "RequestTracer | None",
) -> None:
    store = StoreMetrics(ledger, log, snapshots, snapshotter)
    async with trio.open_nursery() as services:
        stop = trio.Event()
        await services.start(_stop_on_signal, stop)
        metrics = None
        if settings.metrics == "on":
            metrics, lag = Metrics(), EventLoopLag()
            metrics.add(store)
            metrics.add(lag)
            if tracer is not None:
                metrics.add(tracer)
            services.start_soon(lag.watch)
        services.start_soon(
            serve_http, ledger, admission, listener, settings, stop, metrics, tracer
        )
        await _run_ledger(ledger, log, snapshots, snapshotter, settings, store)
        services.cancel_scope.cancel()


async def _run_ledger(
    ledger: Ledger,
    log: LmdbWriteAheadLog,
    snapshots: SnapshotView,
    snapshotter: SnapshotterProcess,
    settings: Settings,
    store: StoreMetrics,
) -> None:
    started = trio.current_time()
    # A replay makes objects that stay: the garbage collector would look at them over and over.
    gc.disable()
    recovered = await ledger.recover(_Replaying(log.position))
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.enable()
    duration_s = trio.current_time() - started
    store.recovery = Recovery(duration_s, recovered.entries)
    events.info(
        "recovered",
        users=snapshots.head.users,
        folded_entries=snapshots.head.entries,
        snapshot_position=recovered.snapshot_position,
        replayed_entries=recovered.entries,
        rolled_forward_records=log.rolled_forward,
        position=recovered.position,
        duration_s=round(duration_s, 3),
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


@asynccontextmanager
async def _tracing(settings: Settings) -> "AsyncIterator[RequestTracer | None]":
    """What traces requests, where that is wanted. Nothing of it is imported elsewhere."""
    if settings.otlp_endpoint is None:
        yield None
        return
    try:
        from api.tracing import open_tracing
    except ImportError as error:
        raise StoreError(
            f"traces need what is not installed here ({error.name}): BitBurst's extra `tracing`"
        ) from None
    async with open_tracing(settings.otlp_endpoint, settings.trace_ratio, SystemClock()) as tracer:
        yield tracer


async def _stop_on_signal(
    stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            events.info("stopping", signal=signal.Signals(number).name)
            stop.set()


class _Replaying:
    """Says how far a long replay has come, once a second."""

    def __init__(self, end: LogPosition) -> None:
        self._end = end
        self._said = trio.current_time()

    def __call__(self, position: LogPosition) -> None:
        if trio.current_time() - self._said >= 1:
            self._said = trio.current_time()
            events.info("replaying", position=position, end=self._end)


def _held_for_backup(settings: Settings, directory: DataDirectory) -> HeldForBackup:
    return HeldForBackup(partial(read_mark, directory), settings.backup_log_bytes_max, _on_released)


def _on_released(position: LogPosition) -> None:
    events.warning("the next backup must be a full one", backed_up_to=position)


def _on_migration(what: str, version: int) -> None:
    events.info("migration", stage=what, from_version=version)


def _on_restart(shard: ShardId, error: Exception) -> None:
    events.error("shard restarts", shard=shard, exc_info=error)


def _on_snapshot(taken: SnapshotTaken) -> None:
    events.info("snapshot taken", position=taken.position, duration_s=round(taken.duration_s, 3))


def _on_snapshot_failed(error: SnapshotFailed) -> None:
    events.warning("snapshot failed", reason=str(error))
