"""A signal in the moment a process is started: it is ended, though nobody knew of it yet."""

import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.interruptions import ENDING, held_back
from bench.peers.bitburst import BitBurst
from bench.peers.peer import Skipped
from bench.peers.postgres import Postgres, find_programs
from bench.peers.web_process import WebProcess


class Interruption(BaseException):
    pass


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    def interrupt(number: int, _: Any) -> None:
        raise Interruption(number)

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def bitburst(folder: Path) -> BitBurst:
    return BitBurst(folder / "data", ())


def web_process(folder: Path) -> WebProcess:
    return WebProcess("bench.peers.empty_route", (), folder / "log")


def postgres(folder: Path) -> Postgres:
    try:
        return Postgres(folder, find_programs())
    except Skipped as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("peer", [bitburst, web_process, postgres])
def test_what_a_signal_meets_while_it_is_started_is_ended(
    peer: Any, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        """Nobody holds it yet when the signal comes."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if options.get("start_new_session"):
                started.append(self.pid)
                signal.raise_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    # Not tmp_path: PostgreSQL's account could not reach it.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        running: AbstractContextManager[Any] = peer(Path(folder))
        with pytest.raises(Interruption), running:
            pytest.fail("it went on after the signal")
    assert len(started) == 1
    assert not psutil.pid_exists(started[0])


def test_signals_wait_for_the_end_of_the_block_and_then_do_what_they_did() -> None:
    reached: list[bool] = []

    def start() -> None:
        with held_back():
            signal.raise_signal(signal.SIGTERM)
            reached.append(True)

    with pytest.raises(Interruption, match=str(int(signal.SIGTERM))):
        start()
    assert reached == [True]
    with pytest.raises(Interruption):
        signal.raise_signal(signal.SIGTERM)


def test_a_start_that_fails_does_not_swallow_the_signal() -> None:
    def start() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            raise FileNotFoundError

    with pytest.raises(Interruption) as raised:
        start()
    assert isinstance(raised.value.__context__, FileNotFoundError)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_thread_may_start_processes_too() -> None:
    done: list[bool] = []

    def start() -> None:
        with held_back():
            done.append(True)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert done == [True]
