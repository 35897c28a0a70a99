import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from contract_server import ContractServer, Fault, serving


async def bench(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return await trio.run_process(
        [sys.executable, "-m", "bench", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )


async def simulate(server: ContractServer, *more: str) -> "subprocess.CompletedProcess[bytes]":
    url = f"http://{server.origin.authority}"
    load = ("--users", "20", "--transactions", "11", "--concurrency", "8")
    return await bench("simulate", "--url", url, *load, *more)


async def test_a_correct_server_exits_0_and_all_files_are_written(tmp_path: Path) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.png"
    async with serving(ContractServer()) as server:
        finished = await simulate(
            server, "--run-id", "mine", "--json", str(figures), "--plot", str(picture)
        )
    assert finished.returncode == 0, finished.stderr
    assert b"PASSED" in finished.stdout
    assert b"run id mine" in finished.stdout
    assert finished.stderr == b""
    report = json.loads(figures.read_text())
    assert report["passed"] is True
    assert report["counts"]["confirmed_adds"] == 220
    assert report["adds"]["latency"]["p50_ms"] <= report["adds"]["latency"]["max_ms"]
    answered = sum(second["answered"] for second in report["adds"]["per_second"])
    assert answered == report["adds"]["answered"] > 220
    assert picture.read_bytes().startswith(b"\x89PNG")


async def test_a_ledger_that_doubles_exits_1() -> None:
    async with serving(ContractServer(Fault.DOUBLES_REPEATS)) as server:
        finished = await simulate(server)
    assert finished.returncode == 1
    assert b"FAILED" in finished.stdout
    assert b"doubled" in finished.stdout


async def test_a_server_that_is_not_ready_exits_2_with_one_sentence() -> None:
    async with serving(ContractServer(Fault.NOT_READY)) as server:
        finished = await simulate(server)
    assert finished.returncode == 2
    assert b"is not ready" in finished.stderr
    assert b"Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--run-id", "a/b"),
        ("--users", "0"),
        ("--url", "https://x"),
        ("--json", "no/such/folder.json"),
    ],
)
async def test_unusable_options_exit_2(arguments: tuple[str, str]) -> None:
    finished = await bench("simulate", *arguments)
    assert finished.returncode == 2
    assert b"Traceback" not in finished.stderr
