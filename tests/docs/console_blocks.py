r"""The console blocks of a document: commands, and what they print.

A line that begins with `$ ` is a command; lines that begin with `>`, or that follow a `\`, go on
with it. What follows is its output, in which `…` stands for anything, and times for any others.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TIMES = (
    re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"),
)
TIME = "<time>"


class Step(NamedTuple):
    command: str
    output: str

    def matches(self, printed: str) -> bool:
        """Whether it printed that; a page shows no difference where the last line has no end."""
        parts = map(re.escape, timeless(self.output).rstrip("\n").split("…"))
        pattern = r"[\s\S]*".join(parts)
        return re.fullmatch(pattern, timeless(printed).rstrip("\n")) is not None


def timeless(text: str) -> str:
    """The text with all times alike, and without what no page shows at the ends of lines."""
    for time in _TIMES:
        text = time.sub(TIME, text)
    return re.sub(r"[ \r]+$", "", text, flags=re.MULTILINE)


def steps_of(document: Path) -> Iterator[Step]:
    for block in _BLOCK.findall(document.read_text()):
        command: list[str] = []
        output: list[str] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield _step(command, output)
                command, output = [line[2:]], []
            elif command and not output and line.startswith(">"):
                command.append(line[2:])
            elif command and not output and command[-1].endswith("\\"):
                command.append(line)
            else:
                output.append(line)
        yield _step(command, output)


def _step(command: list[str], output: list[str]) -> Step:
    assert command, output
    return Step("\n".join(command), "".join(f"{line}\n" for line in output))
