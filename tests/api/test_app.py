"""The application by itself: what becomes of a defect in it."""

import json

import pytest
from unobserved import unobserved

from api.admission import Admission
from api.app import create_app
from api.handlers import Answer, Handlers
from ledger_actors import Ledger, Limits
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots


class Defective(Handlers):
    async def balance(self, authorization: bytes | None, user: bytes) -> Answer:
        raise RuntimeError("a secret of the implementation")


async def test_a_defect_is_a_problem_that_tells_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = MemoryLog()
    ledger = Ledger(log, MemorySnapshots(log), ManualClock(), 1, Limits(), lambda *_: None)
    observation = unobserved()
    app = create_app(
        Defective(ledger, Admission(), observation.limits),
        body_bytes_max=1,
        bulk_bytes_max=1,
        request_timeout_s=1.0,
        observation=observation,
    )

    answer = await app.test_client().get("/users/u/balance")

    assert (answer.status_code, answer.headers["Content-Type"]) == (
        500,
        "application/problem+json",
    )
    body = await answer.get_data(as_text=True)
    assert json.loads(body)["type"] == "/docs#internal-error"
    assert "secret" not in body
    assert "a secret of the implementation" in caplog.text
