"""Where backups are kept: a directory, or an S3-compatible object store."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from persistence.environment import sync_directory
from persistence.errors import BackupDamaged, StoreError

CHUNK_BYTES: Final = 1024 * 1024
UNFINISHED: Final = ".unfinished"
S3_SCHEME: Final = "s3://"


class BackupTarget(Protocol):
    """Objects by name. A name has one slash at most: backup and part.

    What goes wrong with the place itself raises `StoreError`, with what it said.
    """

    def names(self) -> Sequence[str]:
        """The names of all objects that are whole."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """The object, in pieces.

        Raises:
            BackupDamaged: there is none.
        """
        ...

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Returns when the object is durable. Until then there is none, or the one that was.

        Whatever `content` raises is raised, and nothing is written.
        """
        ...


class DirectoryTarget:
    """`BackupTarget` in a directory, made when something is written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> Sequence[str]:
        try:
            if not self._path.exists():
                return []
            files = [file for file in self._path.rglob("*") if file.is_file()]
        except OSError as error:
            raise StoreError(f"cannot read {self._path}: {error.strerror}") from None
        names = (str(file.relative_to(self._path)) for file in files)
        return [name for name in names if not name.endswith(UNFINISHED)]

    def read(self, name: str) -> Iterator[bytes]:
        try:
            with (self._path / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError:
            raise BackupDamaged(f"{self._path / name} is missing") from None
        except OSError as error:
            raise StoreError(f"cannot read {self._path / name}: {error.strerror}") from None

    def write(self, name: str, content: Iterable[bytes]) -> None:
        file = self._path / name
        unfinished = file.with_name(file.name + UNFINISHED)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as writing:
                for chunk in content:
                    writing.write(chunk)
                writing.flush()
                os.fsync(writing.fileno())
            unfinished.rename(file)
            for directory in (file.parent, self._path, self._path.parent):
                sync_directory(directory)
        except BaseException as error:
            with suppress(OSError):
                unfinished.unlink()
            if isinstance(error, OSError):
                raise StoreError(f"cannot write {file}: {error.strerror}") from None
            raise


def open_target(place: str) -> BackupTarget:
    """The place of that name: `s3://bucket/prefix`, else the path of a directory.

    Raises:
        StoreError: what S3 needs is not installed, or not set.
    """
    if not place.startswith(S3_SCHEME):
        return DirectoryTarget(Path(place))
    try:
        # Only who keeps backups there needs the package.
        from persistence.s3_target import S3Target
    except ImportError:
        raise StoreError(f"{place} needs the package obstore: pip install obstore") from None
    return S3Target(place)
