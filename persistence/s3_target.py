"""Backups in an object store that speaks the protocol of Amazon S3.

Endpoint and credentials come from the environment, as obstore reads it: AWS_ENDPOINT_URL,
AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ALLOW_HTTP and others.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from persistence.backup_target import CHUNK_BYTES
from persistence.errors import BackupDamaged, StoreError

PART_BYTES: Final = 32 * 1024 * 1024
"""Of a multipart upload, which has 10,000 parts at most: objects of up to 312 GiB."""
PARTS_AT_ONCE: Final = 3


class S3Target:
    """`BackupTarget` below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: `s3://bucket/prefix`.

        Raises:
            StoreError: it is no such URL, or the environment is not what obstore takes.
        """
        self._url = url.rstrip("/")
        try:
            self._store = from_url(self._url)
        except (BaseError, ValueError) as error:
            raise StoreError(f"cannot use {url}: {_said(error)}") from None

    def __str__(self) -> str:
        return self._url

    def names(self) -> Sequence[str]:
        try:
            return [found["path"] for page in obstore.list(self._store) for found in page]
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot list {self}: {_said(error)}") from None

    def read(self, name: str) -> Iterator[bytes]:
        try:
            for chunk in obstore.get(self._store, name).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)
        except FileNotFoundError:
            raise BackupDamaged(f"{self}/{name} is missing") from None
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot read {self}/{name}: {_said(error)}") from None

    def write(self, name: str, content: Iterable[bytes]) -> None:
        try:
            obstore.put(
                self._store,
                name,
                iter(content),
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot write {self}/{name}: {_said(error)}") from None


def _said(error: Exception) -> str:
    """What obstore says in one line, without the details for its own authors that follow."""
    return " ".join(str(error).partition("Debug source:")[0].split())
