"""The first peer: a Quart-trio application on Hypercorn with one route that does nothing."""

import json
import logging
import socket
import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

BACKLOG = 1024


def create_app() -> QuartTrio:
    """GET / answers 200 with an empty body."""
    app = QuartTrio(__name__)

    @app.get("/")
    async def empty() -> str:
        return ""

    return app


async def main() -> None:
    """Serves on a free port until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    # As BitBurst's own: a connection is not closed after so many requests.
    config.keep_alive_max_requests = sys.maxsize
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(serve, create_app(), config)
        print(json.dumps({"url": binds[0]}), flush=True)


if __name__ == "__main__":
    trio.run(main)
