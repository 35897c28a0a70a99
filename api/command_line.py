"""The `bitburst` command."""

import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import trio
from click.core import ParameterSource

from api.backup_commands import backup, backups, restore
from api.key_commands import keys
from api.settings import FLAGS, Settings, defaults_from_file, setting_options
from api.store_commands import log, show, verify
from ledger_actors.errors import LedgerError
from persistence.errors import StoreError

EXIT_FAILURE: Final = 1


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    defaults = _file_defaults(path)
    commands: dict[str, Any] = dict.fromkeys(bitburst.commands, defaults)
    commands["keys"] = dict.fromkeys(keys.commands, defaults)
    context.default_map = {**(context.default_map or {}), **commands}
    return path


def _file_defaults(path: Path | None) -> dict[str, Any]:
    """
    Raises:
        click.UsageError: the file cannot be read, or is none of settings.
    """
    if path is None:
        return {}
    try:
        return defaults_from_file(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"cannot read {path}: {error}") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BITBURST_CONFIG",
    show_envvar=True,
    callback=_read_config,
    is_eager=True,
    help="A TOML file of settings, such as port = 8080.",
)
@click.version_option(package_name="bitburst")
def bitburst(config: Path | None) -> None:
    """A ledger of user balances: every credit counts exactly once.

    A setting is taken from its flag, else from its environment variable, else from the file that
    --config names, else it has its default.
    """


@bitburst.command()
@setting_options()
@click.pass_context
def serve(context: click.Context, /, **values: Any) -> None:
    """Serve the ledger over HTTP until SIGTERM or SIGINT."""
    # The other commands take half the time without an HTTP stack.
    from api.logs import configure_logs
    from api.service import serve as serve_until_stopped

    settings = Settings(**values)
    configure_logs(settings.log_level, settings.log_format)
    trio.run(serve_until_stopped, settings, partial(_reread, context))


def _reread(context: click.Context) -> Settings:
    """The settings as a server that is started now would have them, by the same flags.

    Raises:
        click.ClickException: file, environment or flags cannot be read.
    """
    parent = context.parent
    assert parent is not None
    path = parent.params["config"]
    flags = [flag for one in context.command.params for flag in _as_flag(context, one)]
    fresh = serve.make_context("serve", flags, default_map=_file_defaults(path))
    return Settings(**fresh.params)


def _as_flag(context: click.Context, parameter: click.Parameter) -> Sequence[str]:
    name = parameter.name
    assert name is not None
    if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return ()
    return (parameter.opts[0],) if name in FLAGS else (parameter.opts[0], str(context.params[name]))


for command in (verify, backup, backups, restore, show, log, keys):
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
