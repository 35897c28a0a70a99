"""The second peer: the same endpoints as FastAPI over asyncpg, as people would write them well.

One process of uvicorn on uvloop and httptools, a pool of connections with prepared statements, one
statement for each add.
"""

import argparse
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

import asyncpg
import uvicorn
import uvloop
from fastapi import FastAPI, Header, Query, Response
from pydantic import BaseModel, Field

from bench.peers import ledger_sql
from bench.wire import Micros, decimal_text, six_decimals

MICROS: Final = 1_000_000
BACKLOG: Final = 1024
PAGE: Final = 10
ADD: Final = ledger_sql.ADD.format(user="$1", key="$2", amount="$3")


class Credit(BaseModel):
    """The body of an add."""

    amount: Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=6)]


def create_app(pool: asyncpg.Pool) -> FastAPI:
    """The endpoints, over a pool that is opened when the application starts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.post("/users/{uid}/add")
    async def add(
        uid: str, credit: Credit, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        micros = Micros(int(credit.amount * MICROS))
        if await pool.fetchval(ADD, uid, idempotency_key, micros) is None:
            first = await pool.fetchval(ledger_sql.AMOUNT_OF_KEY, uid, idempotency_key)
            if first != micros:
                return _message("The key was used for another amount", 422)
        return _message(f"Transaction of ${six_decimals(micros)} added for user {uid}")

    @app.get("/users/{uid}/balance")
    async def balance(uid: str) -> Response:
        micros = Micros(await pool.fetchval(ledger_sql.BALANCE, uid) or 0)
        return _message(f"User {uid} has a balance of ${six_decimals(micros)}")

    @app.get("/users/{uid}/history")
    async def history(uid: str, page: Annotated[int, Query(ge=1)] = 1) -> Response:
        rows = await pool.fetch(ledger_sql.HISTORY, uid, (page - 1) * PAGE)
        owner = json.dumps(uid)
        entries = [
            f'{{"UserID":{owner},"Amount":{decimal_text(micros)},"Timestamp":"{_utc(at)}"}}'
            for micros, at in rows
        ]
        return _json(f"[{','.join(entries)}]" if entries else "{}")

    @app.get("/readyz")
    async def ready() -> Response:
        return _json("{}")

    return app


def _message(text: str, status: int = 200) -> Response:
    return _json(json.dumps({"Message": text}), status)


def _json(body: str, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """No statement here changes the session. asyncpg would ask the server to reset it after each
    request: one more round trip, a third of the throughput."""


class _Announcing(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        host, port = sockets[0].getsockname()
        print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)


async def serve(socket_folder: str, user: str, database: str, connections: int) -> None:
    """Serves on a free port until the process is ended."""
    # asyncpg prepares each statement once a connection, and keeps it.
    pool = asyncpg.create_pool(
        host=socket_folder,
        user=user,
        database=database,
        min_size=connections,
        max_size=connections,
        max_inactive_connection_lifetime=0,
        reset=_leave_as_it_is,
    )
    config = uvicorn.Config(create_app(pool), http="httptools", ws="none", access_log=False)
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    await _Announcing(config).serve([listener])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-folder", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--connections", type=int, required=True)
    uvloop.run(serve(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
