"""The contract of `BackupTarget`, held against every implementation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import PAGE_OBJECTS, ObjectStore

from persistence.backup_target import BackupTarget, open_target
from persistence.errors import BackupDamaged, StoreError
from persistence.s3_target import PART_BYTES


@pytest.fixture(params=["directory", "S3"])
def target(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BackupTarget:
    if request.param == "directory":
        return open_target(str(tmp_path / "new" / "place"))
    object_store: ObjectStore = request.getfixturevalue("object_store")
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return open_target(object_store.new_place())


def read(target: BackupTarget, name: str) -> bytes:
    return b"".join(target.read(name))


def test_a_place_that_nobody_wrote_to_is_empty(target: BackupTarget) -> None:
    assert list(target.names()) == []


def test_what_was_written_is_read_back_and_named(target: BackupTarget) -> None:
    target.write("one/part", [b"some ", b"bytes"])
    target.write("one/other", [])
    target.write("two/part", iter([b"more"]))

    assert read(target, "one/part") == b"some bytes"
    assert read(target, "one/other") == b""
    assert sorted(target.names()) == ["one/other", "one/part", "two/part"]


def test_an_object_of_several_parts_is_read_back(target: BackupTarget) -> None:
    pieces = [bytes([number]) * 1_000_003 for number in range(2 * PART_BYTES // 1_000_003 + 3)]

    target.write("one/large", iter(pieces))

    assert read(target, "one/large") == b"".join(pieces)


def test_what_is_written_again_replaces_what_was(target: BackupTarget) -> None:
    target.write("one/part", [b"first and longer"])
    target.write("one/part", [b"second"])

    assert read(target, "one/part") == b"second"


def test_what_cannot_be_made_leaves_what_was(target: BackupTarget) -> None:
    target.write("one/part", [b"first"])

    def broken_off() -> Iterator[bytes]:
        yield b"half"
        raise StoreError("cannot go on")

    for name in ("one/part", "one/new"):
        with pytest.raises(StoreError, match="cannot go on"):
            target.write(name, broken_off())

    assert read(target, "one/part") == b"first"
    assert list(target.names()) == ["one/part"]


def test_what_is_missing_is_named(target: BackupTarget) -> None:
    with pytest.raises(BackupDamaged, match="one/part is missing"):
        read(target, "one/part")


def test_more_objects_than_a_page_of_a_listing_are_all_named(target: BackupTarget) -> None:
    for number in range(2 * PAGE_OBJECTS + 1):
        target.write(f"{number}/part", [b"x"])

    assert len(target.names()) == 2 * PAGE_OBJECTS + 1


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = open_target(str(tmp_path / "file"))

    with pytest.raises(StoreError, match="cannot write"):
        target.write("one/part", [b"x"])


def test_a_bucket_that_is_not_there_is_refused(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    target = open_target("s3://never-made/prefix")

    with pytest.raises(StoreError, match=r"cannot list s3://never-made/prefix: .*NoSuchBucket"):
        target.names()
    with pytest.raises(StoreError, match="cannot write s3://never-made/prefix/one"):
        target.write("one", [b"x"])


def test_what_is_no_place_in_an_object_store_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot use s3://"):
        open_target("s3://")
