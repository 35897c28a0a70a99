"""The log after a loss of power: what was not synced is there or is not, page by page.

What LMDB writes between two syncs is known from the file before and after a call: the pages that
differ. The meta page of a commit is synced by the next one, so it may be lost although the commit
has returned.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore, LogFailed
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from persistence.data_directory import create_data_directory, open_data_directory
from persistence.environment import check_environment
from persistence.errors import DiskFull, StoreError
from persistence.high_water_mark import FILE_NAME
from persistence.log_environment import ASIDE_NAME, LogEnvironment
from persistence.log_store import LogStore
from persistence.meta_page import read_metas
from persistence.verify import verify

ALL = 10**9
PAGE_BYTES = 4096
META_PAGES = 2

Pages = dict[int, bytes]


def batch(number: int, size: int) -> Batch:
    """One whose record takes some `size` bytes more than another."""
    key = "k" * min(size, 200)
    users = [UserId(f"user-{number}-{at}") for at in range(1 + size // 200)]
    entries = [Entry(user, 1, Micros(number), Timestamp(number), key) for user in users]
    return Batch(ShardId(0), entries)


def pages_of(data: Path) -> Pages:
    """The pages that LMDB has used."""
    _, newest = read_metas(data)
    with data.open("rb") as file:
        return {number: file.read(PAGE_BYTES) for number in range(newest.last_page + 1)}


def meta_pages_of(log: Path) -> bytes:
    with (log / "data.mdb").open("rb") as file:
        return file.read(META_PAGES * PAGE_BYTES)


@dataclass
class Disk:
    """The log's file as a disk has it that loses power now.

    Attributes:
        synced: what is on it in any case.
        unsynced: what may be.
        records: what was acknowledged, from the first on.
    """

    path: Path
    synced: Pages
    unsynced: Pages = field(default_factory=dict)
    records: list[list[Batch]] = field(default_factory=list)

    def images(self, rng: Random) -> Iterator[Pages]:
        """Some of the files that may be left: with none, with all, and with some of it."""
        yield self.synced
        yield self.synced | self.unsynced
        kept = {page: data for page, data in self.unsynced.items() if rng.random() < 0.5}
        yield self.synced | kept

    def during(self, after: Pages) -> "Disk":
        """As it is while a call writes its pages, of which none is synced yet."""
        changed = {
            page: data
            for page, data in after.items()
            if page >= META_PAGES and self.seen.get(page) != data
        }
        return Disk(self.path, self.synced, self.unsynced | changed, [*self.records])

    def returned(self, after: Pages) -> "Disk":
        """As it is when the call has returned: only its meta page is not synced."""
        metas = {page: after[page] for page in range(META_PAGES)}
        changed = {page: meta for page, meta in metas.items() if self.seen[page] != meta}
        if not changed:
            return self
        return Disk(self.path, after | {p: self.seen[p] for p in changed}, changed, self.records)

    @property
    def seen(self) -> Pages:
        """What the process sees."""
        return self.synced | self.unsynced


@contextmanager
def left_over(path: Path, image: Pages) -> Iterator[Path]:
    """A directory with a log whose file is that."""
    path.mkdir()
    try:
        size = 1 + max(image)
        pages = b"".join(image.get(number, bytes(PAGE_BYTES)) for number in range(size))
        (path / "data.mdb").write_bytes(pages)
        yield path
    finally:
        shutil.rmtree(path)


class PowerLost(Exception):
    pass


class LosesPower(LogEnvironment):
    """Gets no further than the commit that takes the hidden records in."""

    def sync(self) -> None:
        raise PowerLost


def records_in(log: LogStore) -> list[list[Batch]]:
    """Those that can be read: of a log that was cut, what follows its first record."""
    after = BEGINNING if log.first <= 1 else log.first
    return [[*record.batches] for record in log.read(after, ALL)]


def assert_recovers(disk: Disk, image: Pages, written: list[list[Batch]], rng: Random) -> None:
    """The log has all that was acknowledged, and goes on; after another loss of power as well.

    Args:
        written: what was being written. It may be there.
    """
    known = [*disk.records, *written]

    def assert_goes_on(path: Path) -> int:
        log = LogStore(path)
        try:
            found = records_in(log)
            cut = 0 if log.first <= 1 else log.first
            assert log.last in (len(disk.records), len(known))
            assert found == known[cut : log.last]
            log.commit([batch(log.last + 1, 10)])
        finally:
            log.close()
        check_environment(path)
        return log.rolled_forward

    with left_over(disk.path / "left", image) as left:
        if not assert_goes_on(left):
            return
    with left_over(disk.path / "again", image) as left:
        with pytest.raises(PowerLost):
            LogStore(left, LosesPower)
        aside = (left / ASIDE_NAME).read_bytes()
        taken_in = Disk(disk.path, image, pages_of(left / "data.mdb"))
    for twice in taken_in.images(rng):
        if any(twice.get(page) != data for page, data in taken_in.unsynced.items()):
            # A meta page is written when all that it tells of is synced.
            twice |= {page: image[page] for page in range(META_PAGES)}
        with left_over(disk.path / "twice", twice) as left:
            (left / ASIDE_NAME).write_bytes(aside)
            assert_goes_on(left)


OPERATIONS = st.lists(
    st.one_of(
        st.integers(0, 12_000),
        st.just("cut"),
        st.just("tidy"),
        st.just("open again"),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=25)
@given(operations=OPERATIONS, seed=st.integers(0, 2**32))
def test_what_was_acknowledged_is_there(
    operations: list[int | str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = Random(seed)
    path = tmp_path_factory.mktemp("disk")
    data = path / "log" / "data.mdb"
    log = LogStore(path / "log")
    log.close()
    disk = Disk(path, pages_of(data))
    log = LogStore(path / "log")
    try:
        for operation in operations:
            written: list[list[Batch]] = []
            if operation == "cut":
                log.cut(log.last)
                continue
            if operation == "open again":
                log.close()
                disk = Disk(path, pages_of(data), {}, disk.records)
                log = LogStore(path / "log")
                continue
            if operation == "tidy":
                log.tidy()
            else:
                written = [[batch(log.last + 1, operation)]]
                log.commit(written[0])
            after = pages_of(data)
            for image in disk.during(after).images(rng):
                assert_recovers(disk, image, written, rng)
            disk = disk.returned(after)
            disk.records += written
            for image in disk.images(rng):
                assert_recovers(disk, image, [], rng)
    finally:
        log.close()
        shutil.rmtree(path)


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """A log of five records that loses power, of which the newest is hidden."""
    path = create_data_directory(tmp_path / "data", 1).log
    log = LogStore(path)
    for number in range(1, 6):
        metas = meta_pages_of(path)
        log.commit([batch(number, 300)])
    log.close()
    with (path / "data.mdb").open("r+b") as file:
        file.write(metas)
    return path


def hidden_places(path: Path) -> list[int]:
    """Where the newest record of `log_path` is in its file."""
    data = (path / "data.mdb").read_bytes()
    record = (1).to_bytes(1, "big") + (5).to_bytes(8, "big")
    places = [at for at in range(len(data)) if data.startswith(record, at)]
    assert places
    return places


def spoil(path: Path, place: int) -> None:
    with (path / "data.mdb").open("r+b") as file:
        file.seek(place + 60)
        byte = file.read(1)
        file.seek(place + 60)
        file.write(bytes([byte[0] ^ 1]))


def test_what_is_hidden_is_taken_in_once(log_path: Path) -> None:
    with closing(LogStore(log_path)) as log:
        assert (log.last, log.rolled_forward) == (5, 1)
        assert records_in(log) == [[batch(number, 300)] for number in range(1, 6)]
    with closing(LogStore(log_path)) as log:
        assert (log.last, log.rolled_forward) == (5, 0)
    assert not (log_path / ASIDE_NAME).exists()


def test_a_newest_record_that_is_not_whole_was_never_answered(log_path: Path) -> None:
    (log_path / FILE_NAME).unlink()
    for place in hidden_places(log_path):
        spoil(log_path, place)
    with closing(LogStore(log_path)) as log:
        assert (log.last, log.rolled_forward) == (4, 0)


def test_one_that_is_not_whole_and_was_answered_is_missed(log_path: Path) -> None:
    for place in hidden_places(log_path):
        spoil(log_path, place)
    with pytest.raises(CorruptStore, match="lost its end: it ends at position 4, and had"):
        LogStore(log_path)


def test_who_looks_before_it_is_started_is_told(log_path: Path, tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path / "data")
    with pytest.raises(StoreError, match="lost power while it was served"):
        verify(directory)
    LogStore(log_path).close()
    assert verify(directory).last == 5


def test_a_record_of_a_commit_that_was_given_up_is_not_taken_for_one(tmp_path: Path) -> None:
    """LMDB leaves what it had in memory in the unused room of pages."""
    path = tmp_path / "log"
    log = LogStore(path)
    log.commit([batch(1, 10)])
    given_up, _ = log._encoder.encode(LogPosition(2), log._digest, [batch(2, 100)])
    transaction = log._environment.lmdb.begin(write=True)
    # What is put first lies where the record of the next commit will be.
    transaction.put((3).to_bytes(8, "big"), bytes(1000))
    transaction.put((2).to_bytes(8, "big"), given_up)
    transaction.abort()
    metas = meta_pages_of(path)
    log.commit([batch(2, 10)])
    log.close()
    left = (path / "data.mdb").read_bytes()
    assert given_up in left, "what this is about did not happen"
    (path / "data.mdb").write_bytes(metas + left[len(metas) :])
    with closing(LogStore(path)) as log:
        assert log.rolled_forward == 1
        assert records_in(log) == [[batch(1, 10)], [batch(2, 10)]]


def test_two_records_for_one_position_are_refused(log_path: Path) -> None:
    with closing(LogStore(log_path)) as log:
        other, _ = log._encoder.encode(LogPosition(6), log._digest, [batch(6, 1)])
        one, _ = log._encoder.encode(LogPosition(6), log._digest, [batch(6, 2)])
        log._environment.set_aside([one, other])
        log._environment.lmdb.sync(force=True)
        log._failure = "not synced"
    with pytest.raises(CorruptStore, match="two records for position 6"):
        LogStore(log_path)


def test_a_copy_is_there_until_its_records_are_taken_in(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power may be lost again and again: no copy is written over before the next is whole."""
    with pytest.raises(PowerLost):
        LogStore(log_path, LosesPower)
    aside = (log_path / ASIDE_NAME).read_bytes()

    def loses_power(descriptor: int) -> None:
        raise PowerLost

    monkeypatch.setattr("os.fsync", loses_power)
    with closing(LogEnvironment(log_path)) as environment, pytest.raises(PowerLost):
        environment.set_aside([b"another"])
    monkeypatch.undo()
    assert (log_path / ASIDE_NAME).read_bytes() == aside
    LogStore(log_path).close()


def test_a_copy_that_is_not_what_was_written_is_refused(log_path: Path) -> None:
    (log_path / ASIDE_NAME).write_bytes(b"\x91\xc5\x01\x00half of it")
    with pytest.raises(CorruptStore, match=f"{ASIDE_NAME} is not what was written"):
        LogStore(log_path)


def test_a_leaf_that_leads_nowhere_is_none(log_path: Path) -> None:
    """A bit is another in a page that seems free, where no check has looked."""
    long = batch(6, 5_000)
    log = LogStore(log_path)
    metas = meta_pages_of(log_path)
    log.commit([long])
    log.close()
    data = bytearray((log_path / "data.mdb").read_bytes())
    data[: len(metas)] = metas
    node = (8).to_bytes(2, "little") + (6).to_bytes(8, "big")
    places = [at for at in range(len(data)) if data.startswith(node, at)]
    for place in places:
        data[place + len(node) + 7] ^= 0x80
    (log_path / "data.mdb").write_bytes(data)
    (log_path / FILE_NAME).unlink()
    with closing(LogStore(log_path)) as log:
        assert (log.last, log.rolled_forward) == (5, 0)


def test_without_room_for_the_copy_nothing_is_changed(log_path: Path) -> None:
    (log_path / ASIDE_NAME).mkdir()
    before = (log_path / "data.mdb").read_bytes()
    with pytest.raises(StoreError, match=f"cannot read .*{ASIDE_NAME}: Is a directory"):
        LogStore(log_path)
    (log_path / ASIDE_NAME).rmdir()

    class Full(LogEnvironment):
        def set_aside(self, values: object) -> None:
            raise DiskFull("no room")

    with pytest.raises(DiskFull):
        LogStore(log_path, Full)
    assert (log_path / "data.mdb").read_bytes() == before
    LogStore(log_path).close()


def test_a_disk_that_fails_at_the_end_is_told(log_path: Path) -> None:
    class Failing(LogEnvironment):
        failing = False

        def sync(self) -> None:
            if self.failing:
                raise lmdb.DiskError("mdb_env_sync: Input/output error")
            super().sync()

    log = LogStore(log_path, Failing)
    log._environment.failing = True
    with pytest.raises(LogFailed, match="the write-ahead log failed: mdb_env_sync"):
        log.close()
    LogStore(log_path).close()
