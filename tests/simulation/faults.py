"""Faults: what befalls the machine, at the times that the scenario says."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio
from simulation.disk import Handle, Medium
from simulation.machine import Machine
from simulation.scenario import (
    ClockJumps,
    Crash,
    FailedFsync,
    Fault,
    FlippedBit,
    ForeignRecord,
    FullDisk,
    SlowDisk,
    SnapshotterDies,
    Stall,
    Stop,
    TornTail,
)

from ledger_actors.entry import Batch
from ledger_actors.errors import CorruptStore, LogCut
from persistence.log_reader import digest_at
from persistence.pinned import PinnedStore
from persistence.record import RecordEncoder, decode, position_of
from persistence.recovery import check_digest, check_reach
from persistence.snapshot_format import HEAD_KEY, unpack_head
from persistence.snapshot_store import SnapshotView
from persistence.verify import verify_pinned


async def inflict(machine: Machine, faults: Sequence[Fault]) -> None:
    """Returns when the last of them is over."""
    async with trio.open_nursery() as nursery:
        for fault in faults:
            await trio.sleep_until(fault.at_s)
            machine.say(str(fault))
            nursery.start_soon(_inflict, machine, fault)


async def _inflict(machine: Machine, fault: Fault) -> None:
    match fault:
        case Crash():
            machine.arm(fault)
        case Stop():
            await machine.stop()
        case SlowDisk():
            machine.latency.factor = fault.factor
            await trio.sleep(fault.for_s)
            machine.latency.factor = 1.0
        case FullDisk():
            await _fill(machine, fault)
        case FailedFsync():
            _fail_fsync(machine, fault)
        case FlippedBit():
            await _flip(machine, fault)
        case ForeignRecord():
            await _replace(machine, fault)
        case TornTail():
            await _tear(machine, fault)
        case Stall() if machine.snapshotter is not None:
            machine.snapshotter.stalled_until_s = trio.current_time() + fault.for_s
        case SnapshotterDies() if machine.snapshotter is not None:
            machine.snapshotter.dying = True
        case ClockJumps():
            machine.clock.offset_us += round(fault.by_s * 1_000_000)
    machine.seen[f"faults: {type(fault).__name__}"] += 1


async def _fill(machine: Machine, fault: FullDisk) -> None:
    media = {
        machine.log_medium: fault.log_bytes,
        machine.snapshot_medium: fault.snapshot_bytes,
    }
    for medium, left_bytes in media.items():
        medium.full = True
        medium.map_bytes = medium.rows.size + left_bytes
    machine.latency.factor = fault.factor
    refused = machine.seen["answered LogUnavailable"]
    await trio.sleep(fault.for_s)
    for medium in media:
        medium.full = False
    machine.latency.factor = 1.0
    if machine.seen["answered LogUnavailable"] > refused:
        machine.seen["full disks that refused credits"] += 1


def _fail_fsync(machine: Machine, fault: FailedFsync) -> None:
    if fault.medium == "log":
        machine.log_medium.failing = True
        machine.oracle.doubtful = True
    else:
        machine.snapshot_medium.failing = True


async def _flip(machine: Machine, fault: FlippedBit) -> None:
    medium = machine.log_medium if fault.medium == "log" else machine.snapshot_medium
    if not fault.running:
        machine.crash(power=False)
    medium.reveal()
    key = _chosen(medium.rows.keys, fault.place)
    if key is None:
        return
    value = bytearray(medium.rows.values[key])
    bit = int(fault.bit * len(value) * 8)
    value[bit // 8] ^= 1 << bit % 8
    await _spoil(machine, medium, {key: bytes(value)}, fault.mended_after_s)
    machine.seen[f"bits flipped in the {medium.name}"] += 1


def _chosen(keys: Sequence[bytes], place: float) -> bytes | None:
    """One of the keys: of every kind of row equally often, however few there are of it."""
    kinds = sorted({key[0] for key in keys})
    if not kinds:
        return None
    chance = place * len(kinds)
    kind = kinds[int(chance)]
    of_kind = [key for key in keys if key[0] == kind]
    return of_kind[int(chance % 1 * len(of_kind))]


async def _tear(machine: Machine, fault: TornTail) -> None:
    machine.crash(power=True)
    medium = machine.log_medium
    medium.reveal()
    keys = medium.rows.keys
    if not keys:
        return
    if not fault.records:
        newest = medium.rows.values[keys[-1]]
        await _spoil(machine, medium, {keys[-1]: newest[:-1]}, fault.mended_after_s)
        machine.seen["newest record cut short"] += 1
        return
    lost = keys[-fault.records :]
    kept = keys[: -fault.records]
    reach = int.from_bytes(kept[-1]) if kept else 0
    # A log that lost its end behind the snapshot is a log that is older: nothing can tell.
    if reach < unpack_head(machine.snapshot_medium.rows.values.get(HEAD_KEY)).position:
        await _spoil(machine, medium, dict.fromkeys(lost), fault.mended_after_s)
        machine.seen["end of the log lost"] += 1


async def _replace(machine: Machine, fault: ForeignRecord) -> None:
    # Also of a fold that is under way: what it folded of it could not be told from what is right.
    machine.crash(power=True)
    medium = machine.log_medium
    medium.reveal()
    keys = medium.rows.keys[:-1]
    if not keys:
        return
    key = keys[int(fault.place * len(keys))]
    position = position_of(key)
    written = decode(position, medium.rows.values[key])
    batches = [
        Batch(
            batch.shard,
            [msgspec.structs.replace(entry, amount=entry.amount + 1) for entry in batch.entries],
        )
        for batch in written.record.batches
    ]
    foreign, _ = RecordEncoder().encode(position, written.previous, batches)
    if foreign != medium.rows.values[key]:
        await _spoil(machine, medium, {key: foreign}, fault.mended_after_s)
        machine.seen["foreign records in the log"] += 1


async def _spoil(
    machine: Machine, medium: Medium, spoilt: dict[bytes, bytes | None], mended_after_s: float
) -> None:
    """Spoils these rows, sees that `bitburst verify` says so, and has it mended after a while."""
    for key, value in spoilt.items():
        medium.spoil(key, value)
    machine.damaged()
    report = verified(machine)
    machine.oracle.require(report is not None, f"verify finds nothing wrong with {spoilt}")
    machine.say(f"spoilt: {report}")
    with suppress(CorruptStore):
        machine.oracle.recorded(SnapshotView(Handle(machine.snapshot_medium)))
    if machine.phase == "serving" and machine.ledger is not None:
        machine.audit(machine.ledger)
    else:
        await machine.next_start()
    await trio.sleep(mended_after_s)
    if machine.damaged():
        # An operator stops the server and puts back what was written.
        machine.to_be_mended = True
        machine.crash(power=False)


def verified(machine: Machine) -> str | None:
    """What `bitburst verify` says is wrong with the store; None if nothing is."""
    log, snapshot = Handle(machine.log_medium), Handle(machine.snapshot_medium)
    try:
        store = PinnedStore(log, log.begin(), snapshot, SnapshotView(snapshot))
        check_reach(store.last, store.snapshot.head)
        check_digest(digest_at(store.log, store.snapshot.position), store.snapshot.head)
        verify_pinned(store, machine.world.shards)
    except (CorruptStore, LogCut) as error:
        return str(error)
    return None
