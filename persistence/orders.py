"""What the server tells the snapshotter: lines of `fold SHARE`, and of `share SHARE` meanwhile."""

import os
import select
from typing import Final

READ_BYTES: Final = 4096


class Orders:
    """Standard input of the snapshotter, which it looks at in the middle of a fold as well."""

    def __init__(self, file: int) -> None:
        """
        Args:
            file: descriptor of the reading end of a pipe.
        """
        self._file = file
        self._rest = b""
        self._folds = 0
        self._share = 0.0

    def next_fold(self) -> bool:
        """Waits for an order to fold; False where none will come, because the server has ended."""
        while not self._folds:
            if not self._read():
                return False
        self._folds -= 1
        return True

    def share(self) -> float:
        """Of the processor, as it was told last."""
        while select.select([self._file], [], [], 0)[0]:
            if not self._read():
                break
        return self._share

    def _read(self) -> bool:
        received = os.read(self._file, READ_BYTES)
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            order, share = line.split()
            self._share = float(share)
            self._folds += order == b"fold"
        return bool(received)
