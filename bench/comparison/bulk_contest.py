"""Thousands of credits in one request, against thousands of rows in one statement."""

import random
from typing import Final

from bench.comparison.audit import USERS_MAX, Audit
from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import FigureName, Sample
from bench.comparison.setting import PeerChoice
from bench.comparison.stage import LEDGER, Stage, sample_of
from bench.comparison.targets import BITBURST, POSTGRES
from bench.loads.bulk import (
    CREDITS_PER_REQUEST,
    BulkRequests,
    Encoding,
    encode_requests,
    send_bulk,
)
from bench.loads.generator import Started, site
from bench.loads.outcome import Outcome
from bench.loads.requests import with_headers
from bench.peers.peer import awake
from bench.peers.pgbench import PGBENCH, many_adds, run_pgbench

AUTHORITY: Final = "bitburst"
"""For the Host header: requests are made before the server has a port."""
STATEMENT_CLIENTS: Final = 2
"""More only wait for each other's rows."""
NAMES: Final = {Encoding.MSGPACK: "msgpack", Encoding.JSON: "JSON"}


def compare_bulk(stage: Stage) -> None:
    """msgpack and JSON on a fresh store each time, and PostgreSQL with and without balances."""
    dice = random.Random(stage.setting.seed)
    users = [dice.randrange(stage.setting.users) for _ in range(stage.setting.bulk_credits)]
    entrants = [
        bulk_entrant(stage, encoding, users, f"bulk, {name}") for encoding, name in NAMES.items()
    ]
    for balances in (True, False):
        entrants += _postgres(stage, balances=balances)
    alternate(entrants, stage.setting.repetitions, stage.results, stage.told)


def bulk_entrant(
    stage: Stage,
    encoding: Encoding,
    users: list[int],
    what: str,
    *,
    flags: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
) -> Entrant:
    """BitBurst, on a fresh store in each repetition.

    Args:
        users: one for each credit.
        flags: further ones of `bitburst serve`.
        headers: lines that each request has to carry.
    """
    setting = stage.setting
    counted = min(setting.users, USERS_MAX)
    # Each repetition has a store of its own, and may be sent the same.
    encoded: list[BulkRequests] = []

    def measure(repetition: int) -> Sample:
        if not encoded:
            authority = with_headers(AUTHORITY, headers)
            encoded.append(encode_requests(users, encoding, "bulk", authority))
        name = f"{what.replace(', ', '-').replace(' ', '-')}-{repetition}"
        with stage.bitburst(name, flags) as server:

            def run(started: Started) -> Outcome:
                return send_bulk(site(server.url), encoded[0], counted, started, headers=headers)

            with awake(server):
                audit = Audit(server.url, setting.users, headers)
            outcome, busy = stage.measure(server, run)
            audit.expect(outcome)
            with awake(server):
                audited = audit.check()
        stage.results.note(name, audited.text, audited.wrong)
        return sample_of(outcome, busy)

    title = FigureName(BITBURST, what)
    return Entrant(title, "credits/s", "own, bulk", setting.pinned, measure)


def _postgres(stage: Stage, *, balances: bool) -> list[Entrant]:
    postgres, setting = stage.postgres, stage.setting
    if postgres is None or PeerChoice.POSTGRES not in setting.peers:
        return []
    script = many_adds(setting.users, CREDITS_PER_REQUEST, balances=balances)
    file = setting.folder / "bulk.sql"
    seconds = max(1, round(setting.seconds))

    def run(started: Started) -> Outcome:
        started()
        return run_pgbench(postgres, LEDGER, script, file, STATEMENT_CLIENTS, seconds)

    def measure(_: int) -> Sample:
        return sample_of(*stage.measure(postgres, run))

    what = f"insert of {CREDITS_PER_REQUEST:,} rows" + ("" if balances else ", no balances")
    return [Entrant(FigureName(POSTGRES, what), "rows/s", PGBENCH, setting.pinned, measure)]
