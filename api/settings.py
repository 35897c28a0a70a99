"""The settings of the server: one class; flags, environment and file all fill it."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from api.admission import Rates
from api.api_keys import FILE_NAME as KEYS_FILE_NAME
from api.request_ids import Policy
from api.token_bucket import RATE_MAX, Rate
from ledger_actors.ledger import Limits
from ledger_actors.snapshotting import SnapshotPolicy
from persistence.data_directory import SHARDS_DEFAULT
from persistence.store_description import SHARDS_MAX

ENVIRONMENT_PREFIX: Final = "BITBURST_"

Command = TypeVar("Command", bound=Callable[..., Any])


def _setting(
    default: Any, kind: Any, explained: str, *variables: str, reloaded: bool = False
) -> Any:
    """
    Args:
        variables: further ones of the environment, after its own.
        reloaded: SIGHUP has it read again.
    """
    metadata = {"kind": kind, "help": explained, "variables": variables, "reloaded": reloaded}
    return field(default=default, metadata=metadata)


class _Seconds(click.FloatRange):
    """More than none, and not for ever: `nan` is in every range, and `inf` never passes."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        seconds = super().convert(value, parameter, context)
        if not isfinite(seconds):
            self.fail(f"{value} is not a finite number of seconds.", parameter, context)
        return seconds


_positive = click.IntRange(min=1)
_rate = click.FloatRange(min=0, max=RATE_MAX)
_seconds = _Seconds()


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
    tls_client_ca: Path | None = _setting(
        None,
        click.Path(path_type=Path, exists=True, dir_okay=False),
        "PEM file of authorities; with it, callers must have a certificate of one of them.",
    )
    allow_anonymous: bool = _setting(
        False, bool, "Listen on other addresses than loopback although there are no API keys."
    )
    keys_file: Path | None = _setting(
        None,
        click.Path(path_type=Path, dir_okay=False),
        f"Where the API keys are; {KEYS_FILE_NAME} in the data directory if it is not said.",
    )
    key_rate: float = _setting(
        0.0,
        _rate,
        "Requests, or credits of a bulk, a second for each API key; more get 429. 0: no limit.",
        reloaded=True,
    )
    key_burst: int | None = _setting(
        None, _positive, "How many of them may come at once; those of a second.", reloaded=True
    )
    user_rate: float = _setting(
        0.0,
        _rate,
        "Requests, or credits of a bulk, a second that are about one user. 0: no limit.",
        reloaded=True,
    )
    user_burst: int | None = _setting(
        None, _positive, "How many of them may come at once; those of a second.", reloaded=True
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
    remembered_keys_max: int = _setting(
        Limits().remembered_keys,
        click.IntRange(min=0),
        "Idempotency keys in memory of entries that a snapshot has: they spare look-ups. "
        "An account that is in memory for them alone counts as 4 more.",
    )
    snapshot_entries: int = _setting(
        SnapshotPolicy().entries, _positive, "Take a snapshot after this many entries,"
    )
    snapshot_interval_s: float = _setting(
        SnapshotPolicy().interval_s, _seconds, "or after this many seconds with any."
    )
    backup_log_bytes_max: int = _setting(
        4 * 1024 * 1024 * 1024,
        click.IntRange(min=0),
        "Log kept for the next incremental backup; with more, that one must be full. 0 keeps none.",
    )
    probe_interval_s: float = _setting(
        Limits().probe_interval_s,
        _seconds,
        "Seconds between probes of a log that refused a write.",
    )
    commit_s_max: float = _setting(
        Limits().commit_s_max,
        _seconds,
        "Seconds that a commit may take; until a longer one has ended, credits are refused (503).",
    )
    body_bytes_max: int = _setting(65_536, _positive, "Largest request body; more gets 413.")
    bulk_bytes_max: int = _setting(
        8 * 1024 * 1024, _positive, "Largest body of a bulk request; more gets 413."
    )
    keep_alive_s: float = _setting(
        60.0, _seconds, "Seconds after which an idle connection is closed."
    )
    request_timeout_s: float = _setting(
        30.0,
        _seconds,
        "Seconds that a request may take to arrive (more gets 408), and an answer to be taken.",
    )
    connections_max: int = _setting(
        16_384, _positive, "Connections that are open at once; one more gets 503."
    )
    shutdown_s: float = _setting(
        10.0, _seconds, "Seconds that requests in flight have to finish at shutdown."
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
        "info",
        click.Choice(["debug", "info", "warning", "error"]),
        "Least level that is logged.",
        reloaded=True,
    )
    log_format: str = _setting(
        "auto",
        click.Choice(["auto", "console", "json"]),
        "auto: console on a terminal, JSON lines elsewhere.",
    )

    @property
    def limits(self) -> Limits:
        return Limits(
            self.inbox_limit,
            self.unfolded_entries_max,
            self.remembered_keys_max,
            self.probe_interval_s,
            self.commit_s_max,
        )

    @property
    def rates(self) -> Rates:
        return Rates(
            Rate.of(self.key_rate, self.key_burst) if self.key_rate else None,
            Rate.of(self.user_rate, self.user_burst) if self.user_rate else None,
        )

    @property
    def keys_path(self) -> Path:
        return self.keys_file or self.data_dir / KEYS_FILE_NAME

    @property
    def snapshot_policy(self) -> SnapshotPolicy:
        return SnapshotPolicy(self.snapshot_entries, self.snapshot_interval_s)


FLAGS: Final = frozenset(one.name for one in fields(Settings) if one.metadata["kind"] is bool)
RELOADED: Final = frozenset(one.name for one in fields(Settings) if one.metadata["reloaded"])
"""Settings that a server takes anew when it is told to (SIGHUP)."""


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
                is_flag=one.metadata["kind"] is bool,
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
        if not isinstance(value, str | int | float) or isinstance(value, bool) != (name in FLAGS):
            if name in FLAGS:
                raise click.UsageError(f"{name} must be true or false, not {value!r}")
            raise click.UsageError(f"{name} must be a string or a number, not {value!r}")
    # As text, a value is read as that of a flag is.
    return {name: str(value) for name, value in found.items()}
