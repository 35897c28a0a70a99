"""The second peer as a whole: the API's process and the PostgreSQL below it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.peers import ledger_sql
from bench.peers.postgres import SUPERUSER, Postgres
from bench.peers.web_process import WebProcess, need_packages

POOL: Final = 32


class FastApiOnPostgres:
    """Made by `fastapi_on_postgres`."""

    def __init__(self, api: WebProcess, postgres: Postgres) -> None:
        self._api = api
        self._postgres = postgres

    @property
    def url(self) -> str:
        return self._api.url

    def pids(self) -> list[int]:
        """Of both."""
        return [*self._api.pids(), *self._postgres.pids()]


@contextmanager
def fastapi_on_postgres(
    folder: Path, postgres: Postgres, database: str
) -> Iterator[FastApiOnPostgres]:
    """Runs the API on a database that has the tables.

    Raises:
        Skipped: a package is missing.
        PeerFailedError: it did not start.
    """
    need_packages("fastapi", "uvicorn", "uvloop", "httptools", "asyncpg")
    arguments = ["--socket-folder", str(postgres.socket_folder), "--user", SUPERUSER]
    arguments += ["--database", database, "--connections", str(POOL)]
    with WebProcess("bench.peers.fastapi_ledger", arguments, folder / "fastapi.log") as api:
        yield FastApiOnPostgres(api, postgres)


def fill_ledger(postgres: Postgres, database: str, users: int, rounds: int) -> None:
    """Makes a database with that many users, and so many transactions of each.

    Raises:
        PeerFailedError: it could not be made.
    """
    postgres.run("postgres", f"CREATE DATABASE {database}")
    fill = ledger_sql.FILL.format(users=users, rounds=rounds)
    postgres.run(database, ledger_sql.SCHEMA, fill, *ledger_sql.SETTLE)
