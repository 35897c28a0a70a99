"""What was measured of a store, as rows for people and as JSON for programs."""

from dataclasses import asdict
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.backing_up import BackupTimes, CommandRun
from bench.folding import FoldingLatencies
from bench.latency import Percentiles
from bench.paging import PagingLatencies
from bench.report import Json, machine
from bench.restart import Restarts, Started
from bench.server_process import Memory

Measured = Restarts | FoldingLatencies | PagingLatencies | BackupTimes


class Row(NamedTuple):
    what: str
    figure: str


def print_rows(measured: Measured, console: Console) -> None:
    """Prints a table; its title says what was measured on what."""
    title, rows = rows_of(measured)
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def store_json(*measured: Measured) -> Json:
    """All figures and parameters; units are the last word of a name."""
    return {
        "format": 1,
        "machine": machine(),
        **{type(one).__name__: {**asdict(one), **_ratios(one)} for one in measured},
    }


def rows_of(measured: Measured) -> tuple[str, list[Row]]:
    match measured:
        case Restarts():
            return _restart_rows(measured)
        case FoldingLatencies():
            return _folding_rows(measured)
        case PagingLatencies():
            return _paging_rows(measured)
        case BackupTimes():
            return _backup_rows(measured)


def _ratios(measured: Measured) -> Json:
    match measured:
        case Restarts():
            return {"replayed_per_s": measured.with_tail.replayed_per_s}
        case FoldingLatencies():
            return {"p99_ratio": measured.p99_ratio}
        case PagingLatencies():
            return {"p50_ratio": measured.p50_ratio}
        case BackupTimes():
            return {}


def _restart_rows(restarts: Restarts) -> tuple[str, list[Row]]:
    parameters = restarts.parameters
    title = f"Start with {parameters.users:,} users of {parameters.rounds} folded entries"
    return title, [
        Row(f"ready, {max(parameters.users // 1000, 1):,} users", _ready(restarts.few_users)),
        Row("ready, all users", _ready(restarts.folded)),
        Row(
            f"ready, and {restarts.with_tail.replayed_entries:,} entries to replay",
            _ready(restarts.with_tail),
        ),
        Row("of that, the replay", f"{restarts.with_tail.replay_s:.2f} s"),
        Row("replay", f"{restarts.with_tail.replayed_per_s:,.0f} entries/s"),
        Row("resident at start", _memory(restarts.memory_at_start)),
        Row(f"resident at most, {parameters.active:,} active", _memory(restarts.memory_max)),
        Row("adds while that was watched", f"{restarts.adds:,}"),
        Row("snapshots while that was watched", f"{restarts.snapshots:,}"),
    ]


def _folding_rows(measured: FoldingLatencies) -> tuple[str, list[Row]]:
    parameters = measured.parameters
    title = (
        f"Adds over {parameters.connections} connections to {parameters.users:,} users, "
        f"a snapshot every {parameters.snapshot_entries:,} entries"
    )
    return title, [
        Row("snapshots", f"{measured.snapshots} in {measured.folding_s:.2f} s"),
        Row("adds while one is folded", f"{measured.folding_adds:,}"),
        Row("adds while none is", f"{measured.idle_adds:,}"),
        Row("latency while one is folded", _percentiles(measured.folding)),
        Row("latency while none is", _percentiles(measured.idle)),
        Row("p99 while folding / p99 while not", f"{measured.p99_ratio:.2f}"),
    ]


def _paging_rows(measured: PagingLatencies) -> tuple[str, list[Row]]:
    parameters = measured.parameters
    return f"Pages of a history of {parameters.entries:,} entries", [
        Row("page 1", _percentiles(measured.first)),
        Row(f"page {parameters.last_page:,}", _percentiles(measured.last)),
        Row("p50 of the last / p50 of the first", f"{measured.p50_ratio:.2f}"),
    ]


def _backup_rows(measured: BackupTimes) -> tuple[str, list[Row]]:
    parameters = measured.parameters
    title = (
        f"Backups of {parameters.entries:,} entries of {parameters.users:,} users, "
        f"and an increment of {parameters.added:,}"
    )
    return title, [
        Row("full backup", _command(measured.full)),
        Row("incremental backup", _command(measured.incremental)),
        Row("restore of both, verified", _command(measured.restored)),
        Row("restore up to half of the increment", _command(measured.restored_to_position)),
        Row("verify the store", _command(measured.verified)),
        Row("verify the backups", _command(measured.backups_verified)),
    ]


def _command(run: CommandRun) -> str:
    size = f", {run.bytes / 1_000_000:,.1f} MB" if run.bytes else ""
    return f"{run.duration_s:.1f} s{size}"


def _ready(started: Started) -> str:
    return f"{started.ready_s:.2f} s"


def _memory(memory: Memory) -> str:
    return (
        f"{memory.resident_mb:.0f} MB ({memory.anonymous_mb:.0f} own, {memory.file_mb:.0f} mapped)"
    )


def _percentiles(latency: Percentiles) -> str:
    return f"p50 {latency.p50_ms:.2f} ms, p99 {latency.p99_ms:.2f} ms"
