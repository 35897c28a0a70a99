"""The `bitburst` command."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import trio

from api.backup_commands import backup, backups, restore
from api.logs import configure_logs
from api.service import serve as serve_until_stopped
from api.settings import Settings, defaults_from_file, setting_options
from api.store_commands import log, show, verify
from ledger_actors.errors import LedgerError
from persistence.errors import StoreError

EXIT_FAILURE: Final = 1


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"cannot read {path}: {error}") from None
    defaults = defaults_from_file(values)
    commands = dict.fromkeys(bitburst.commands, defaults)
    context.default_map = {**(context.default_map or {}), **commands}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BITBURST_CONFIG",
    show_envvar=True,
    callback=_read_config,
    expose_value=False,
    is_eager=True,
    help="A TOML file of settings, such as port = 8080.",
)
@click.version_option(package_name="bitburst")
def bitburst() -> None:
    """A ledger of user balances: every credit counts exactly once.

    A setting is taken from its flag, else from its environment variable, else from the file that
    --config names, else it has its default.
    """


@bitburst.command()
@setting_options()
def serve(**values: Any) -> None:
    """Serve the ledger over HTTP until SIGTERM or SIGINT."""
    settings = Settings(**values)
    configure_logs(settings.log_level, settings.log_format)
    trio.run(serve_until_stopped, settings)


for command in (verify, backup, backups, restore, show, log):
    bitburst.add_command(command)


def main() -> None:
    """Runs the command; what it cannot do is one line on standard error, and exit status 1."""
    try:
        bitburst(standalone_mode=True)
    except* (LedgerError, StoreError) as group:
        # A log that fails fails for every shard: said once.
        for message in dict.fromkeys(str(error) for error in _leaves(group)):
            click.echo(f"bitburst: {message}", err=True)
        sys.exit(EXIT_FAILURE)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
