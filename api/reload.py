"""What a running server takes anew: API keys when their file changes, settings at SIGHUP."""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import click
import structlog
import trio

from api.admission import Admission, Rates
from api.api_keys import ApiKey, now_utc, read_keys
from api.settings import RELOADED, Settings
from persistence.errors import StoreError

LOOK_INTERVAL_S: Final = 1.0

events = structlog.stdlib.get_logger("bitburst")

Reread = Callable[[], Settings]
"""Reads flags, environment and file again. Raises click.ClickException where one is wrong."""


class CurrentKeys:
    """Keeps a server's admission as the file of keys is.

    A file that is not there means that nobody needs a key; but once there was one, only a restart
    takes its absence for that. A file that cannot be read changes nothing.
    """

    def __init__(self, path: Path, admission: Admission, rates: Rates) -> None:
        """
        Raises:
            StoreError: the file cannot be read.
        """
        self._path = path
        self._admission = admission
        self._rates = rates
        self._seen = _mark(path)
        self._keys = read_keys(path)
        self._good: Sequence[ApiKey] | None = None
        self._adopt()

    def set_rates(self, rates: Rates) -> None:
        """Takes these from now on, for the keys that have none of their own."""
        self._rates = rates
        self._adopt()

    def look(self) -> None:
        """Takes what has changed in the file, and lets no key stay that has expired."""
        seen = _mark(self._path)
        if seen != self._seen:
            self._seen = seen
            self.read()
        elif self._good != self._unexpired():
            self._adopt()
            events.info("API key expired", keys=len(self._good or ()))

    def read(self) -> None:
        """Reads the file, changed or not; keeps what was known where that fails."""
        try:
            keys = read_keys(self._path)
            if keys is None and self._keys is not None:
                raise StoreError(f"{self._path} is gone; restart the server to do without keys")
        except StoreError as error:
            events.error("API keys not reloaded", reason=str(error))
            return
        self._keys = keys
        self._adopt()
        if keys is not None:
            events.info("API keys reloaded", keys=len(self._good or ()))

    def _adopt(self) -> None:
        self._good = self._unexpired()
        self._admission.adopt(self._good, self._rates)

    def _unexpired(self) -> Sequence[ApiKey] | None:
        if self._keys is None:
            return None
        now = now_utc()
        return [key for key in self._keys if not key.expired(now)]


async def keep_current(keys: CurrentKeys, admission: Admission) -> None:
    """Runs for ever: once a second looks for changes, and logs who was not admitted."""
    while True:
        await trio.sleep(LOOK_INTERVAL_S)
        keys.look()
        for (reason, key), requests in admission.drain_refusals():
            events.warning("not admitted", reason=reason, key=key, requests=requests)


async def reload_on_signal(
    settings: Settings,
    reread: Reread,
    keys: CurrentKeys,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs for ever: at SIGHUP, takes keys and those settings anew that may change."""
    current = settings
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            keys.read()
            try:
                fresh = reread()
            except click.ClickException as error:
                events.error("settings not reloaded", reason=error.format_message())
                continue
            keys.set_rates(fresh.rates)
            events.info(
                "settings reloaded",
                changed=sorted(_differing(current, fresh) & RELOADED),
                need_restart=sorted(_differing(settings, fresh) - RELOADED),
            )
            # Last: what was done must be seen, whatever the new level hides.
            logging.getLogger().setLevel(fresh.log_level.upper())
            current = fresh


def _differing(one: Settings, other: Settings) -> frozenset[str]:
    names = [field.name for field in fields(Settings)]
    return frozenset(name for name in names if getattr(one, name) != getattr(other, name))


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes with every change of the file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
