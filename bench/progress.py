"""The progress bar of a run, gone when it ends and silent where nobody watches."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressBar:
    """Use as a context manager; call it with the phase's name, requests settled, requests planned.

    It draws when it is called, without a thread that would compete with the load.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._shown = ""
        self._task = self._bar.add_task("connecting", total=None)

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, phase: str, settled: int, planned: int) -> None:
        if phase != self._shown:
            self._shown = phase
            self._bar.reset(self._task, description=phase, total=planned)
        self._bar.update(self._task, completed=settled)
        self._bar.refresh()


def tell(progress: ProgressBar, phase: str, planned: int) -> Callable[[int], None]:
    """A function that is told how much more is done, and shows it."""
    settled = 0

    def told(more: int) -> None:
        nonlocal settled
        settled += more
        progress(phase, settled, planned)

    return told
