"""Keeps what is resident of the snapshot store's map small.

Each look-up maps the pages around the one that it needs, 64 KiB at a time on Linux, and nothing
unmaps them: after a while the whole store would count as the process's memory. They are pages of
the kernel's cache, so mapping the store anew costs next to nothing.
"""

import os
from pathlib import Path
from typing import Final

import trio

from persistence.snapshot_store import SnapshotView

MAPPED_BYTES_MAX: Final = 96 * 1024 * 1024
CHECK_INTERVAL_S: Final = 0.25
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def mapped_bytes() -> int:
    """How much of mapped files is resident in this process; see proc(5), `statm`."""
    return int(_STATM.read_bytes().split()[2]) * _PAGE_BYTES


async def keep_mapping_small(snapshots: SnapshotView) -> None:
    """Runs for ever: maps the store anew when more than `MAPPED_BYTES_MAX` of it is resident.

    What is resident of other files, as of the log, stays; it does not count.
    """
    others = 0
    while True:
        await trio.sleep(CHECK_INTERVAL_S)
        mapped = mapped_bytes()
        others = min(others, mapped)
        if mapped - others > MAPPED_BYTES_MAX:
            snapshots.refresh()
            others = mapped_bytes()
