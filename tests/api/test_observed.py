"""What is watched where the application itself fails: a defect, brought about by storage."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from api.admission import Admission
from api.app import create_app
from api.damage_reports import DamageReports
from api.handlers import Handlers
from api.limit_hits import LimitHits
from api.logs import configure_logs
from api.observation import Observation
from api.request_counts import RequestCounts
from api.request_ids import request_ids
from ledger_actors.identity import UserId
from ledger_actors.ledger import open_ledger
from ledger_actors.ports import AccountSummary
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots


class Defective(MemorySnapshots):
    def account(self, user: UserId) -> AccountSummary | None:
        raise ZeroDivisionError


@contextmanager
def logs_as_the_server_has_them() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("info", "json")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


async def test_a_defect_is_answered_counted_and_logged_with_the_requests_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = RequestCounts()
    observation = Observation(LimitHits(), DamageReports(), request_ids("always"), hypercorn=counts)
    log = MemoryLog()
    with logs_as_the_server_has_them():
        async with open_ledger(log, Defective(log), ManualClock(), shards=1) as ledger:
            app = create_app(
                Handlers(ledger, Admission(), observation.limits),
                body_bytes_max=1000,
                bulk_bytes_max=1000,
                request_timeout_s=1,
                observation=observation,
            )
            headers = {"X-Request-Id": "mine"}
            answer = await app.test_client().get("/users/ann/balance", headers=headers)

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    assert [(one.route, one.status) for one in counts.statistics() if one.seconds.count] == [
        ("balance", 500)
    ]
    (line,) = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert line["request_id"] == "mine"
    assert "ZeroDivisionError" in line["exception"]
