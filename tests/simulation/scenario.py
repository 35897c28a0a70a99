"""What happens in one run: a world, and the events that befall it. All of it follows from the seed.

Events are numbered and independent of each other, so that any of them can be left out: that is how
a scenario is shrunk. Times are seconds of the simulated clock.
"""

from dataclasses import dataclass
from typing import ClassVar

from ledger_actors.credit import Credit
from ledger_actors.identity import UserId

Wish = Credit
"""A credit that a caller wants. Its retries ask for the same, and for no other."""


@dataclass(frozen=True, slots=True)
class World:
    """Sizes and limits: small, so that every seam is met often."""

    users: int
    shards: int
    inbox: int
    unfolded_entries: int
    probe_interval_s: float
    snapshot_entries: int
    snapshot_interval_s: float
    fsync_s: float
    """What an fsync takes at most, on a disk that is well."""
    entries_per_read: int
    entries_per_forgetting: int
    entries_per_fold: int
    looked_up_together: int
    remembered_keys: int
    look_ups_before_learning: int
    learned: int
    cut_per_commit: int
    cut_per_call: int


@dataclass(frozen=True, slots=True)
class Ask:
    """A caller asks for credits, and asks again while it does not know."""

    caller: int
    pause_s: float
    """How long the caller waits before it does so."""
    wishes: tuple[Wish, ...]
    bulk: bool
    """In one submission, and not each by itself."""
    patience_s: float
    """How long it waits for answers."""
    attempts: int
    backoff_s: float
    defect: str = ""
    """Where the ledger raises over it: "stage", "answer", or "stage and answer"."""


@dataclass(frozen=True, slots=True)
class Look:
    """A caller reads a balance and a page of the history."""

    caller: int
    pause_s: float
    user: UserId
    page: int


@dataclass(frozen=True, slots=True)
class Crash:
    """The server ends without a warning, at any await.

    Attributes:
        moment: what must be said by a device first; "" if nothing.
        steps: of the scheduler after that.
        power: the machine's; otherwise the process is killed, and its snapshotter outlives it.
    """

    at_s: float
    moment: str
    steps: int
    power: bool
    down_s: float

    moments: ClassVar = (
        "boot",
        "recovered",
        "log is written",
        "log is synced",
        "fold begins",
        "snapshot is written",
        "snapshot is synced",
        "log is to be cut",
        "shard restarts",
        "log is full",
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """The server is stopped in order, and started again."""

    at_s: float


@dataclass(frozen=True, slots=True)
class SlowDisk:
    at_s: float
    for_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class FullDisk:
    """Neither file can grow.

    Attributes:
        log_bytes: what the log has left in its file.
        snapshot_bytes: what the snapshot has.
        factor: how much slower the disk is.
    """

    at_s: float
    for_s: float
    log_bytes: int
    snapshot_bytes: int
    factor: float


@dataclass(frozen=True, slots=True)
class FailedFsync:
    """The next commit fails, and nobody knows whether it is durable."""

    at_s: float
    medium: str


@dataclass(frozen=True, slots=True)
class FlippedBit:
    """One bit of one row changes.

    Attributes:
        place: which row of those that there are, from 0 to 1.
        bit: which of its bits, from 0 to 1.
        running: the server has it open; otherwise it is killed, and finds it at its start.
    """

    at_s: float
    medium: str
    place: float
    bit: float
    running: bool
    mended_after_s: float


@dataclass(frozen=True, slots=True)
class TornTail:
    """The end of the log is lost in a crash.

    Attributes:
        records: so many are lost; 0: the newest is cut short.
    """

    at_s: float
    records: int
    mended_after_s: float


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """A record of the log is whole, but not the one that was written there.

    Attributes:
        place: which of those that another follows, from 0 to 1.
    """

    at_s: float
    place: float
    mended_after_s: float


@dataclass(frozen=True, slots=True)
class Stall:
    """The snapshotter hangs."""

    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class SnapshotterDies:
    at_s: float


@dataclass(frozen=True, slots=True)
class ClockJumps:
    at_s: float
    by_s: float


Deed = Ask | Look
"""What a caller does."""
Fault = (
    Crash
    | Stop
    | SlowDisk
    | FullDisk
    | FailedFsync
    | FlippedBit
    | TornTail
    | ForeignRecord
    | Stall
    | SnapshotterDies
    | ClockJumps
)
Event = Deed | Fault


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int
    world: World
    events: tuple[tuple[int, Event], ...]
    """Each with its number."""

    def keeping(self, numbers: set[int]) -> "Scenario":
        """The same with only these events."""
        kept = tuple(event for event in self.events if event[0] in numbers)
        return Scenario(self.seed, self.world, kept)

    @property
    def deeds(self) -> dict[int, list[Deed]]:
        """What each caller does, in order."""
        found: dict[int, list[Deed]] = {}
        for _, event in self.events:
            if isinstance(event, Deed):
                found.setdefault(event.caller, []).append(event)
        return found

    @property
    def faults(self) -> list[Fault]:
        """In the order in which they befall it."""
        faults = [event for _, event in self.events if not isinstance(event, Deed)]
        return sorted(faults, key=lambda fault: fault.at_s)
