"""An object store that speaks S3 over loopback: moto's server, in a process of its own.

moto keeps objects in memory and looks at no signature. It is not what people run, but it speaks the
protocol, multipart uploads and pages of listings included.
"""

import contextlib
import itertools
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eventually import eventually

ADDRESS: Final = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
PAGE_OBJECTS: Final = 20
"""How many objects a page of a listing names; 1,000 on Amazon's."""
TIMEOUT_S: Final = 20.0


class ObjectStore:
    """A running object store, and what a client's environment must say to reach it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self._url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
        }

    def new_place(self) -> str:
        """The URL of a prefix in a new bucket."""
        bucket = f"bucket-{next(self._numbers)}"
        self.request("PUT", bucket)
        return f"s3://{bucket}/some/prefix"

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self._url}/{path}", body, method=method)
        with contextlib.closing(urllib.request.urlopen(request, timeout=TIMEOUT_S)) as reply:
            content: bytes = reply.read()
            return content


@contextmanager
def running_object_store(log: Path) -> Iterator[ObjectStore]:
    """
    Args:
        log: the file for what it says; it says a line for each request.
    """
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    environment = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE_OBJECTS)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            found = eventually(lambda: ADDRESS.search(log.read_text()))
            assert found is not None
            yield ObjectStore(found[1])
        finally:
            process.kill()
