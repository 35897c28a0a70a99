"""Whether the ledger can take credits, and if not, why."""

import trio

from ledger_actors.errors import LogUnavailable
from ledger_actors.ports import WriteAheadLog


class Readiness:
    """Off from a refused append until a probe write, or another append, succeeds."""

    def __init__(self, log: WriteAheadLog, *, probe_interval_s: float) -> None:
        self._log = log
        self._probe_interval_s = probe_interval_s
        self._lost = trio.Event()
        self._reason: str | None = "the ledger is recovering"

    @property
    def reason(self) -> str | None:
        """Why the ledger is not ready; None when it is."""
        return self._reason

    def regain(self) -> None:
        self._reason = None

    def lose(self, reason: str) -> None:
        self._reason = reason
        self._lost.set()

    async def keep_probing(self) -> None:
        """Runs for ever: once readiness is lost, probes the log until it can be written."""
        while True:
            await self._lost.wait()
            while self._reason is not None:
                await trio.sleep(self._probe_interval_s)
                try:
                    await self._log.probe()
                except LogUnavailable as error:
                    self._reason = str(error)
                else:
                    self.regain()
            self._lost = trio.Event()
