"""`python -m bench`."""

import json
import re
import secrets
import sys
from pathlib import Path

import click
import trio
from rich.console import Console

from bench.caller import RetryPolicy
from bench.comparison.command import compare
from bench.errors import BenchError, UnusableError
from bench.everything import everything
from bench.http_client import allow_connections, parse_origin
from bench.progress import ProgressBar
from bench.report import print_report, report_json
from bench.simulate import Simulation, SimulationParameters
from bench.simulate import simulate as run_simulation
from bench.store_commands import backups, folding, paging, restart
from bench.workload import WorkloadParameters

RUN_ID = re.compile(r"[A-Za-z0-9_.~-]{1,64}")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Measure BitBurst: a running server, or servers that it starts itself."""


def _checked_run_id(_: click.Context, __: click.Parameter, value: str | None) -> str:
    if value is None:
        return f"run-{secrets.token_hex(4)}"
    if RUN_ID.fullmatch(value) is None:
        raise click.BadParameter("1 to 64 letters, digits, and any of - _ . ~")
    return value


def _checked_file(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    # Better said now than after the run.
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"{value.parent} is no folder")
    return value


REPORT_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


@main.command()
@click.option("--url", default="http://127.0.0.1:8080", help="The running server.")
@click.option("--users", type=click.IntRange(1, 1_000_000), default=5000)
@click.option(
    "--transactions", type=click.IntRange(1, 100_000), default=100, help="Credits for each user."
)
@click.option("--concurrency", type=click.IntRange(1, 20_000), default=1000, help="Connections.")
@click.option("--seed", type=int, default=1, help="Decides amounts, order, and what is repeated.")
@click.option(
    "--run-id",
    callback=_checked_run_id,
    help="Begins the names of all users. Repeat a run, with the same options, to see that a store "
    "recognises all of it.  [default: drawn, and printed]",
)
@click.option(
    "--duplicate-share",
    type=click.FloatRange(0, 1),
    default=0.1,
    help="Share of the credits sent twice: at once, soon after, at the end of the run.",
)
@click.option(
    "--json",
    "json_file",
    type=REPORT_FILE,
    callback=_checked_file,
    help="Write all figures and the parameters there.",
)
@click.option(
    "--plot",
    "plot_file",
    type=REPORT_FILE,
    callback=_checked_file,
    help="Write a PNG there: throughput and latency over time.",
)
def simulate(
    url: str,
    users: int,
    transactions: int,
    concurrency: int,
    seed: int,
    run_id: str,
    duplicate_share: float,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Credit many users at once, read everything back, prove that nothing is lost or doubled.

    Exits with 0 when there were no errors and nothing was lost or doubled, with 1 otherwise, with 2
    when nothing could be measured.
    """
    console = Console()
    try:
        allow_connections(concurrency)
        parameters = SimulationParameters(
            parse_origin(url),
            WorkloadParameters(users, transactions, duplicate_share, seed, run_id),
            concurrency,
            RetryPolicy(),
        )
        with ProgressBar(console) as progress:
            simulation = trio.run(run_simulation, parameters, progress)
    except BenchError as error:
        raise UnusableError(str(error)) from None
    print_report(simulation, console)
    _write_files(simulation, json_file, plot_file)
    sys.exit(0 if simulation.passed else 1)


def _write_files(simulation: Simulation, json_file: Path | None, plot_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(report_json(simulation), indent=1) + "\n")
    if plot_file is not None:
        # Importing matplotlib takes longer than a small run.
        from bench.plot import plot_simulation

        plot_simulation(simulation, plot_file)


for command in (restart, folding, paging, backups, everything, compare):
    main.add_command(command)


if __name__ == "__main__":
    main()
