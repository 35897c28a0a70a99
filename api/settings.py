"""The settings of the server: one class; flags, environment and file all fill it."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from api.request_ids import Policy
from ledger_actors.ledger import Limits
from ledger_actors.snapshotting import SnapshotPolicy
from persistence.data_directory import SHARDS_DEFAULT, SHARDS_MAX

ENVIRONMENT_PREFIX: Final = "BITBURST_"

Command = TypeVar("Command", bound=Callable[..., Any])


def _setting(default: Any, kind: Any, explained: str, *variables: str) -> Any:
    """
    Args:
        variables: further ones of the environment, after its own.
    """
    metadata = {"kind": kind, "help": explained, "variables": variables}
    return field(default=default, metadata=metadata)


_positive = click.IntRange(min=1)
_positive_float = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that `bitburst serve` can be told."""

    host: str = _setting("127.0.0.1", str, "Address to listen on.")
    port: int = _setting(8080, click.IntRange(0, 65535), "Port to listen on; 0 takes a free one.")
    server: str = _setting(
        "fast-lane",
        click.Choice(["fast-lane", "hypercorn"]),
        "What listens: the fast lane with Hypercorn behind it, or Hypercorn alone.",
    )
    tls_certificate: Path | None = _setting(
        None,
        click.Path(path_type=Path, exists=True, dir_okay=False),
        "PEM file with the certificate; with it, the server speaks TLS only.",
    )
    tls_key: Path | None = _setting(
        None, click.Path(path_type=Path, exists=True, dir_okay=False), "PEM file with its key."
    )
    data_dir: Path = _setting(
        Path("data"), click.Path(path_type=Path, file_okay=False), "Where log and snapshots are."
    )
    shards: int | None = _setting(
        None,
        click.IntRange(1, SHARDS_MAX),
        f"Shards of a new store ({SHARDS_DEFAULT}); a store that exists keeps what it has.",
    )
    inbox_limit: int = _setting(
        Limits().inbox, _positive, "Credits that may wait for one shard; more are refused (503)."
    )
    unfolded_entries_max: int = _setting(
        Limits().unfolded_entries,
        _positive,
        "Entries in memory that no snapshot has; more are refused (503).",
    )
    snapshot_entries: int = _setting(
        SnapshotPolicy().entries, _positive, "Take a snapshot after this many entries,"
    )
    snapshot_interval_s: float = _setting(
        SnapshotPolicy().interval_s, _positive_float, "or after this many seconds with any."
    )
    probe_interval_s: float = _setting(
        Limits().probe_interval_s,
        _positive_float,
        "Seconds between probes of a log that refused a write.",
    )
    body_bytes_max: int = _setting(65_536, _positive, "Largest request body; more gets 413.")
    bulk_bytes_max: int = _setting(
        8 * 1024 * 1024, _positive, "Largest body of a bulk request; more gets 413."
    )
    keep_alive_s: float = _setting(
        60.0, _positive_float, "Seconds after which an idle connection is closed."
    )
    request_timeout_s: float = _setting(
        30.0,
        _positive_float,
        "Seconds that a request may take to arrive (more gets 408), and an answer to be taken.",
    )
    connections_max: int = _setting(
        16_384, _positive, "Connections that are open at once; one more gets 503."
    )
    shutdown_s: float = _setting(
        10.0, _positive_float, "Seconds that requests in flight have to finish at shutdown."
    )
    metrics: str = _setting(
        "on", click.Choice(["on", "off"]), "Count requests, and show all metrics at /metrics."
    )
    request_ids: str = _setting(
        "always",
        click.Choice([policy.value for policy in Policy]),
        "Answers that carry an X-Request-Id: all, those whose request had one, or none.",
    )
    otlp_endpoint: str | None = _setting(
        None,
        str,
        "URL of a collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318.",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    trace_ratio: float = _setting(
        0.001,
        click.FloatRange(0, 1),
        "Of the requests without a traceparent, so many are traced; with one, it decides.",
    )
    log_level: str = _setting(
        "info", click.Choice(["debug", "info", "warning", "error"]), "Least level that is logged."
    )
    log_format: str = _setting(
        "auto",
        click.Choice(["auto", "console", "json"]),
        "auto: console on a terminal, JSON lines elsewhere.",
    )

    @property
    def limits(self) -> Limits:
        return Limits(self.inbox_limit, self.unfolded_entries_max, self.probe_interval_s)

    @property
    def snapshot_policy(self) -> SnapshotPolicy:
        return SnapshotPolicy(self.snapshot_entries, self.snapshot_interval_s)


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Options for these settings (all of them by default), each with its environment variable."""
    chosen = [one for one in fields(Settings) if not names or one.name in names]

    def decorate(command: Command) -> Command:
        for one in reversed(chosen):
            assert one.default is not MISSING
            command = click.option(
                "--" + one.name.replace("_", "-"),
                default=one.default,
                type=one.metadata["kind"],
                envvar=[ENVIRONMENT_PREFIX + one.name.upper(), *one.metadata["variables"]],
                show_envvar=True,
                show_default=one.default is not None,
                help=one.metadata["help"],
            )(command)
        return command

    return decorate


def defaults_from_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration file says, by setting.

    Raises:
        click.UsageError: it names something that is no setting, or gives one what no flag could.
    """
    known = {one.name for one in fields(Settings)}
    found = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(found.keys() - known)
    if unknown:
        raise click.UsageError(
            f"no such setting: {', '.join(unknown)}. Settings are {', '.join(sorted(known))}."
        )
    for name, value in found.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise click.UsageError(f"{name} must be a string or a number, not {value!r}")
    # As text, a value is read as that of a flag is.
    return {name: str(value) for name, value in found.items()}
