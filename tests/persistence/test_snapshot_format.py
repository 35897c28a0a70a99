"""Rows of the snapshot store: what is written is read, and what is not written never is."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger_actors.entry import Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import MICROS_MAX, Micros
from persistence.snapshot_format import (
    BLOCK_ENTRIES,
    CHECKSUM_BYTES,
    FORMAT_VERSION,
    Head,
    StoredAccount,
    account_key,
    block_key,
    pack_account,
    pack_block,
    pack_entry,
    pack_head,
    pack_request,
    request_key,
    unpack_account,
    unpack_block,
    unpack_head,
    unpack_request,
    unpack_tail,
    user_of,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
users = texts.map(UserId)
keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(IdempotencyKey)
digests = st.binary(min_size=CHECKSUM_BYTES, max_size=CHECKSUM_BYTES)
counts = st.integers(0, 2**40)
fields = st.tuples(
    st.integers(1, MICROS_MAX).map(Micros),
    st.integers(0, 2**53).map(Timestamp),
    st.none() | keys,
    st.none() | texts.map(Reference),
)


def entries_of(user: UserId, first: int, drawn: list[tuple[object, ...]]) -> list[Entry]:
    return [Entry(user, number, *each) for number, each in enumerate(drawn, first)]  # type: ignore[arg-type]


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, 2**63), st.binary(min_size=32, max_size=32), counts, counts)
def test_a_head_reads_back(position: int, digest: bytes, users: int, entries: int) -> None:
    head = Head(FORMAT_VERSION, LogPosition(position), digest, users, entries)
    assert unpack_head(pack_head(head)) == head


@given(users, st.integers(0, MICROS_MAX), counts, digests, st.lists(fields, max_size=15))
def test_an_account_and_its_tail_read_back(
    user: UserId, balance: int, blocks: int, digest: bytes, drawn: list[tuple[object, ...]]
) -> None:
    before = blocks * BLOCK_ENTRIES
    entries = entries_of(user, before + 1, drawn)
    tail = b"".join(map(pack_entry, entries))
    key = account_key(user)
    value = pack_account(key, balance, before + len(entries), digest, tail)
    account = unpack_account(key, value)
    assert account == StoredAccount(Micros(balance), before + len(entries), digest, tail)
    assert (user_of(key), account.blocks) == (user, blocks)
    assert unpack_tail(user, account) == entries


@given(users, users, st.lists(fields, max_size=15), st.data())
def test_an_account_that_was_changed_or_is_anothers_is_refused(
    user: UserId, other: UserId, drawn: list[tuple[object, ...]], data: st.DataObject
) -> None:
    tail = b"".join(map(pack_entry, entries_of(user, 1, drawn)))
    key = account_key(user)
    value = pack_account(key, 5, len(drawn), bytes(CHECKSUM_BYTES), tail)
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    length = data.draw(st.integers(0, len(value) - 1))
    for changed in (flipped(value, bit), value[:length], value + b"\0"):
        with pytest.raises(CorruptStore, match="does not match its checksum"):
            unpack_account(key, changed)
    assume(user != other)
    with pytest.raises(CorruptStore, match="does not match its checksum"):
        unpack_account(account_key(other), value)


full_blocks = st.lists(fields, min_size=BLOCK_ENTRIES, max_size=BLOCK_ENTRIES)


@given(users, st.integers(0, 2**30), full_blocks, st.data())
def test_a_block_reads_back_or_is_refused(
    user: UserId, block: int, drawn: list[tuple[object, ...]], data: st.DataObject
) -> None:
    entries = entries_of(user, block * BLOCK_ENTRIES + 1, drawn)
    value = pack_block(block_key(user, block), b"".join(map(pack_entry, entries)))
    assert unpack_block(user, block, value) == entries
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    length = data.draw(st.integers(0, len(value) - 1))
    for changed in (flipped(value, bit), value[:length], value + b"\0"):
        with pytest.raises(CorruptStore):
            unpack_block(user, block, changed)
    with pytest.raises(CorruptStore, match=f"block {block + 1} .* does not match its checksum"):
        unpack_block(user, block + 1, value)


@given(users, st.integers(1, 2**63))
def test_a_request_reads_back(user: UserId, number: int) -> None:
    assert unpack_request(user, pack_request(number)) == number


@given(st.lists(st.tuples(users, keys, st.integers(0, 2**40)), max_size=20))
def test_no_two_rows_have_the_same_key(drawn: list[tuple[UserId, IdempotencyKey, int]]) -> None:
    rows = {("account", user): account_key(user) for user, _, _ in drawn}
    rows |= {("block", user, block): block_key(user, block) for user, _, block in drawn}
    rows |= {("request", user, key): request_key(user, key) for user, key, _ in drawn}
    assert len(set(rows.values())) == len(rows)


@given(users, st.lists(st.integers(0, 2**40), unique=True, min_size=2))
def test_blocks_lie_in_the_order_of_their_numbers(user: UserId, numbers: list[int]) -> None:
    stored = [block_key(user, number) for number in sorted(numbers)]
    assert all(one < other for one, other in pairwise(stored))
