"""What a run of the comparison was told: which loads, how long, on which cores, how large."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.cores import Cores


class Chosen(StrEnum):
    """Loads that can be asked for one by one."""

    ADD = "add"
    KEYED = "keyed"
    BALANCE = "balance"
    HISTORY = "history"
    MIX = "mix"
    BULK = "bulk"
    LATENCY = "latency"
    GROWTH = "growth"
    CONNECTIONS = "connections"
    OVERLOAD = "overload"
    SWITCHES = "switches"
    """Adds, reads and bulks with metrics and the like on, and off."""


class PeerChoice(StrEnum):
    """Peers that can be left out."""

    QUART = "quart"
    FASTAPI = "fastapi"
    POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class Setting:
    """The same for all loads of a run."""

    folder: Path
    """For stores, clusters and logs; the disk that is measured is the one below it."""
    cores: Cores
    wrk: str | None
    """The program; None has the bench's own generator do everything."""
    loads: frozenset[Chosen]
    peers: frozenset[PeerChoice]
    serve_flags: tuple[str, ...]
    """Further flags of `bitburst serve`."""
    seconds: float
    """Of one repetition."""
    repetitions: int
    users: int
    """In every store but those of the growth."""
    connections: tuple[int, ...]
    """Of adds; everything else is asked over 64."""
    bulk_credits: int
    """In each repetition of a bulk load."""
    growth_users: tuple[int, ...]
    growth_entries: int
    """In the largest store at most."""
    open_connections: int
    active_connections: int
    seed: int

    @property
    def pinned(self) -> str:
        """In words, for the report."""
        if not self.cores.separate:
            return f"everything on core {self.cores.server}, the only one"
        return f"the peer on core {self.cores.server}, the generator on core {self.cores.load}"
