"""PostgreSQL alone, asked by its own load generator, pgbench."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import LoadFailedError
from bench.loads.outcome import Outcome
from bench.peers import ledger_sql
from bench.peers.postgres import Postgres

PGBENCH: Final = "pgbench -M prepared"
SECONDS_OVER_MAX: Final = 60.0
_DONE = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_RATE = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """What one of pgbench's transactions does."""

    sql: str
    rows: int
    """Credits that it makes."""


def single_add(users: int) -> Script:
    """One add with a fresh key, as the second peer does it."""
    return Script(
        f"\\set number random(0, {users - 1})\n\\set key random(1, 9000000000000000000)\n"
        + ledger_sql.ADD.format(
            user="'user-' || lpad((:number)::text, 7, '0')", key="(:key)::text", amount="12500000"
        )
        + ";\n",
        1,
    )


def many_adds(users: int, rows: int, *, balances: bool) -> Script:
    """So many adds with fresh keys in one statement, with their balances or without."""
    sql = ledger_sql.ADD_MANY if balances else ledger_sql.INSERT_MANY
    statement = sql.format(users=users, run="(:run)", rows=rows)
    return Script(f"\\set run random(1, 9000000000000000000)\n{statement};\n", rows)


def run_pgbench(
    postgres: Postgres, database: str, script: Script, file: Path, clients: int, seconds: int
) -> Outcome:
    """Runs the script over and over, in prepared statements.

    Args:
        file: where the script is put for pgbench to read it.
        seconds: pgbench knows whole seconds only.

    Raises:
        LoadFailedError: pgbench did not run to its end.
    """
    file.write_text(script.sql)
    command = [*postgres.program("pgbench"), "-n", "-M", "prepared", "-j", "1"]
    command += ["-c", str(clients), "-T", str(seconds), "-f", str(file), database]
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + SECONDS_OVER_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LoadFailedError("pgbench did not end") from None
    if finished.returncode:
        raise LoadFailedError(f"pgbench failed: {finished.stderr.strip()[-300:]}")
    return read_pgbench(finished.stdout, script.rows)


def read_pgbench(output: str, rows: int) -> Outcome:
    """What pgbench printed, as an outcome; what is counted is rows.

    Raises:
        LoadFailedError: it cannot be read.
    """
    done, rate, failed = (pattern.search(output) for pattern in (_DONE, _RATE, _FAILED))
    if done is None or rate is None or not float(rate[1]):
        raise LoadFailedError(f"pgbench said nothing that can be read: {output[-300:]!r}")
    transactions, errors = int(done[1]), int(failed[1]) if failed else 0
    return Outcome(
        generator=PGBENCH,
        answered=transactions * rows,
        seconds=transactions / float(rate[1]),
        errors=errors,
        first_error="failed transactions" if errors else "",
        latency=None,
        made=(transactions + errors) * rows,
    )
