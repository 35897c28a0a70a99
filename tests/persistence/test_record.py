import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_actors.entry import Batch, Entry, LogPosition, Record, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, ShardId, UserId
from ledger_actors.money import MICROS_MAX, Micros
from persistence.record import (
    NO_DIGEST,
    UNPACKED_AT_ONCE_MAX,
    RecordEncoder,
    StoredRecord,
    decode,
    key_of,
    opened,
    position_of,
    sealed,
)

ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
entries = st.builds(
    Entry,
    user=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).map(UserId),
    number=st.integers(1, 2**40),
    amount=st.integers(1, MICROS_MAX).map(Micros),
    timestamp=st.integers(0, 2**53).map(Timestamp),
    key=st.none() | ascii_text.map(IdempotencyKey),
    reference=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
batches = st.lists(
    st.builds(
        Batch, shard=st.integers(0, 4095).map(ShardId), entries=st.lists(entries, max_size=5)
    ),
    max_size=4,
)
positions = st.integers(1, 2**63).map(LogPosition)
digests = st.binary(min_size=32, max_size=32)


@given(positions, digests, batches)
def test_a_record_reads_back_as_it_was_written(
    position: LogPosition, previous: bytes, written: list[Batch]
) -> None:
    value, digest = RecordEncoder().encode(position, previous, written)
    assert decode(position, value) == StoredRecord(Record(position, written), previous, digest)


@given(positions, positions)
def test_keys_sort_as_positions_do(one: LogPosition, other: LogPosition) -> None:
    assert (key_of(one) < key_of(other)) == (one < other)
    assert position_of(key_of(one)) == one


@given(positions, digests, batches, st.data())
def test_whatever_becomes_of_a_record_is_found(
    position: LogPosition, previous: bytes, written: list[Batch], data: st.DataObject
) -> None:
    value, _ = RecordEncoder().encode(position, previous, written)
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    length = data.draw(st.integers(0, len(value) - 1))
    flipped = bytearray(value)
    flipped[bit // 8] ^= 1 << bit % 8
    for damaged in (bytes(flipped), value[:length], value + b"\0"):
        with pytest.raises(CorruptStore, match=f"position {position}"):
            decode(position, damaged)


def small_record() -> bytes:
    entry = Entry(UserId("ann"), 1, Micros(5), Timestamp(7), IdempotencyKey("k"))
    return RecordEncoder().encode(LogPosition(3), NO_DIGEST, [Batch(ShardId(1), [entry])])[0]


def test_every_flipped_bit_is_found() -> None:
    value = small_record()
    for bit in range(len(value) * 8):
        damaged = bytearray(value)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStore, match="position 3"):
            decode(LogPosition(3), bytes(damaged))


def test_every_missing_end_is_found() -> None:
    value = small_record()
    for length in range(len(value)):
        with pytest.raises(CorruptStore, match="position 3"):
            decode(LogPosition(3), value[:length])


def test_a_record_in_another_place_is_found() -> None:
    with pytest.raises(CorruptStore, match="was written at 3"):
        decode(LogPosition(4), small_record())


def test_a_record_of_another_format_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistence.record.FORMAT_VERSION", 2)
    value = small_record()
    monkeypatch.undo()
    with pytest.raises(CorruptStore, match="format version 2; this program reads version 1"):
        decode(LogPosition(3), value)


def large_batches() -> list[Batch]:
    user, amount, stamp = UserId("u" * 100), Micros(5), Timestamp(7)
    entries = [Entry(user, number, amount, stamp, None) for number in range(1, 21)]
    return [Batch(ShardId(shard), entries) for shard in range(64)]


def test_who_opens_a_large_record_gives_way_after_each_batch() -> None:
    value, _ = RecordEncoder().encode(LogPosition(3), NO_DIGEST, large_batches())
    assert len(value) > 2 * UNPACKED_AT_ONCE_MAX
    ways_given: list[None] = []
    stored = opened(sealed(LogPosition(3), value), lambda: ways_given.append(None))
    assert stored.record == Record(LogPosition(3), large_batches())
    assert len(ways_given) == 64


@pytest.mark.parametrize("others", [[], large_batches()], ids=["small record", "large record"])
@pytest.mark.parametrize("batch", [[1], [1, [], 0]], ids=["too few", "too many"])
def test_a_batch_of_other_parts_is_refused(batch: list[object], others: list[Batch]) -> None:
    batches = [*others, batch]
    value, _ = RecordEncoder().encode(LogPosition(3), NO_DIGEST, batches)  # type: ignore[arg-type]
    with pytest.raises(CorruptStore, match="position 3"):
        decode(LogPosition(3), value)


def test_a_key_of_another_length_is_no_position() -> None:
    with pytest.raises(CorruptStore, match="no position"):
        position_of(b"short")
