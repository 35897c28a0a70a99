"""What the documents say of the tests is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::([A-Za-z0-9_:]+))?`")
SECURITY = (ROOT / "docs" / "security.md").read_text()
MODEL = SECURITY.partition("## Threat model")[2].partition("\n## ")[0]
LINES = [line for line in MODEL.splitlines() if line.startswith("| ")][1:]


def test_the_threat_model_has_lines() -> None:
    assert len(LINES) > 20


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_every_line_of_the_threat_model_names_tests_that_exist(line: str) -> None:
    named = NAMED.findall(line.split("|")[3])
    assert named
    assert len(named) == line.split("|")[3].count("`") / 2
    for path, test in named:
        text = (ROOT / path).read_text()
        for part in filter(None, test.split("::")):
            assert re.search(rf"\n *(async )?(def|class) {part}\b", text), f"{path} has no {part}"
        assert re.search(r"\n *(async )?def test_", text)
