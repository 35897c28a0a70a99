"""What a server can be run with and without: to be measured both ways, and to cost little."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Switch:
    """One of them, as flags of `bitburst serve`."""

    what: str
    on: tuple[str, ...]
    off: tuple[str, ...]
    headers: tuple[str, ...] = ()
    """Lines that each request has to carry while it is on."""


@dataclass(frozen=True, slots=True)
class Position:
    """All switches together, one way."""

    name: str
    flags: tuple[str, ...]
    headers: tuple[str, ...]


SWITCHES: Final = (
    Switch("metrics", ("--metrics", "on"), ("--metrics", "off")),
    Switch("request ids", ("--request-ids", "always"), ("--request-ids", "off")),
)


def both_ways(switches: Sequence[Switch]) -> tuple[Position, Position]:
    """All of it on, and all of it off."""
    on = tuple(flag for switch in switches for flag in switch.on)
    off = tuple(flag for switch in switches for flag in switch.off)
    headers = tuple(line for switch in switches for line in switch.headers)
    return Position("all on", on, headers), Position("all off", off, ())
