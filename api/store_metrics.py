"""Metrics of the ledger and of its store."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric

from api.metrics import counter, gauge, histogram
from ledger_actors.ledger import Ledger, LedgerStatistics
from persistence.snapshot_store import SnapshotView
from persistence.snapshotter_process import SnapshotterProcess
from persistence.write_ahead_log import LmdbWriteAheadLog


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the start of this server took."""

    duration_s: float
    entries: int


class StoreMetrics:
    """`api.metrics.Source` of the ledger, its log, its snapshots.

    Attributes:
        recovery: None until the ledger has recovered.
    """

    def __init__(
        self,
        ledger: Ledger,
        log: LmdbWriteAheadLog,
        snapshots: SnapshotView,
        snapshotter: SnapshotterProcess,
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._snapshots = snapshots
        self._snapshotter = snapshotter
        self.recovery: Recovery | None = None

    def collect(self) -> Iterator[Metric]:
        ledger = self._ledger.statistics()
        yield from _ledger_metrics(ledger)
        yield from _shard_metrics(ledger)
        yield from self._log_metrics()
        yield from self._snapshot_metrics()
        yield gauge(
            "recovery_duration_seconds",
            "What the last start took to read snapshot and log",
            None if self.recovery is None else self.recovery.duration_s,
        )
        yield gauge(
            "recovery_entries",
            "Entries that the last start replayed",
            None if self.recovery is None else self.recovery.entries,
        )

    def _log_metrics(self) -> Iterator[Metric]:
        log = self._log.statistics()
        yield histogram(
            "commit_duration_seconds", "Commits of the log, with their fsync", log.commits
        )
        yield histogram("commit_entries", "Entries in each record committed", log.entries)
        yield gauge("log_position", "The newest record of the log", log.position)
        yield gauge("log_records", "Records in the log", log.position - log.first_position + 1)
        yield gauge("log_size_bytes", "Room that the log has reserved", log.reserved_bytes)
        yield gauge(
            "unfolded_positions",
            "Records of the log that no snapshot has",
            log.position - self._snapshots.position,
        )

    def _snapshot_metrics(self) -> Iterator[Metric]:
        snapshotter = self._snapshotter.statistics()
        file = self._snapshots.file
        stored, disk = file.stat(), os.statvfs(file)
        head = self._snapshots.head
        yield histogram(
            "snapshot_duration_seconds", "Foldings of the log that succeeded", snapshotter.folds
        )
        yield counter("snapshot_failures", "Foldings that failed", snapshotter.failures)
        yield counter("snapshotter_starts", "Of the snapshotter's process", snapshotter.starts)
        yield gauge(
            "snapshot_timestamp_seconds",
            "When the snapshot store was last written, in Unix time",
            stored.st_mtime,
        )
        yield gauge("snapshot_position", "Log position that the snapshot has", head.position)
        yield gauge("snapshot_size_bytes", "Room that the snapshots have reserved", stored.st_size)
        yield gauge("folded_users", "Users in the snapshot", head.users)
        yield gauge("folded_entries", "Entries in the snapshot", head.entries)
        yield gauge(
            "disk_free_bytes",
            "Room left on the disk of the data directory",
            disk.f_bavail * disk.f_frsize,
        )


def _ledger_metrics(ledger: LedgerStatistics) -> Iterator[Metric]:
    yield gauge("ready", "1 while credits are taken, else 0", ledger.not_ready is None)
    yield counter(
        "commits_refused", "Commits that the disk had no room for", ledger.refused_appends
    )
    yield gauge("unfolded_entries", "Entries that no snapshot has", ledger.unfolded_entries)
    yield gauge(
        "unfolded_entries_max",
        "With so many, credits are refused",
        ledger.unfolded_entries_max,
    )


def _shard_metrics(ledger: LedgerStatistics) -> Iterator[Metric]:
    shards = ledger.shards
    yield gauge(
        "inbox_requests",
        "Credits that wait in front of a shard",
        {str(number): shard.inbox.waiting for number, shard in enumerate(shards)},
        "shard",
    )
    yield gauge(
        "inbox_requests_max",
        "With so many in front of a shard, credits are refused",
        max((shard.inbox.limit for shard in shards), default=None),
    )
    yield gauge(
        "active_accounts",
        "Accounts with entries that no snapshot has: all in memory",
        sum(shard.active_accounts for shard in shards),
    )
    yield gauge(
        "idle_accounts",
        "Other accounts in memory, for their idempotency keys",
        sum(shard.idle_accounts for shard in shards),
    )
    yield gauge(
        "remembered_keys",
        "Idempotency keys in memory of entries that a snapshot has",
        sum(shard.remembered_keys for shard in shards),
    )
    yield counter(
        "shard_restarts",
        "Shards that were rebuilt from disk after a defect",
        sum(shard.restarts for shard in shards),
    )
    duplicates = [shard.duplicates for shard in shards]
    yield counter(
        "duplicates",
        "Credits whose idempotency key had come before",
        {
            "memory": sum(counts.from_memory for counts in duplicates),
            "snapshot": sum(counts.from_snapshot for counts in duplicates),
            "in_flight": sum(counts.in_flight for counts in duplicates),
            "key_reused": sum(counts.key_reused for counts in duplicates),
        },
        "kind",
    )
