import mmap
from pathlib import Path

import pytest
import trio

from ledger_actors.entry import Entry, LogPosition, Timestamp
from ledger_actors.identity import UserId
from ledger_actors.money import Micros
from persistence.mapped_memory import keep_mapping_small, mapped_bytes
from persistence.snapshot_store import SnapshotWriter, open_snapshot_view


async def test_what_look_ups_mapped_is_given_back_and_the_view_stays_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    names = [UserId(f"user {number:06}") for number in range(200_000)]
    writer = SnapshotWriter(tmp_path)
    entries = [Entry(name, 1, Micros(1), Timestamp(0), None) for name in names]
    writer.fold(LogPosition(0), entries, LogPosition(1), b"d" * 32)
    writer.close()
    view = open_snapshot_view(tmp_path)
    before = mapped_bytes()
    assert all(view.account(name) for name in names)
    touched = mapped_bytes() - before
    assert touched > 2**23
    monkeypatch.setattr("persistence.mapped_memory.MAPPED_BYTES_MAX", before + touched // 2)
    with trio.move_on_after(1):
        await keep_mapping_small(view)
    assert mapped_bytes() - before < touched // 2
    assert view.account(names[0]) is not None
    view.close()


async def test_what_is_mapped_of_other_files_does_not_map_the_store_anew_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    SnapshotWriter(tmp_path / "snapshot").close()
    view = open_snapshot_view(tmp_path / "snapshot")
    size = 2**24
    (tmp_path / "other").write_bytes(bytes(size))
    refreshed: list[LogPosition] = []
    refresh = view.refresh
    monkeypatch.setattr(view, "refresh", lambda: refreshed.append(refresh()))
    with (tmp_path / "other").open("rb") as file:
        other = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        assert not any(other[at] for at in range(0, size, mmap.PAGESIZE))
        monkeypatch.setattr("persistence.mapped_memory.MAPPED_BYTES_MAX", size // 2)
        with trio.move_on_after(10):
            await keep_mapping_small(view)
        other.close()
    assert len(refreshed) == 1
    view.close()
