"""The application by itself: what becomes of a defect in it."""

import json

import pytest
from idle_application import idle_application

from api.handlers import Answer, Handlers


class Defective(Handlers):
    async def balance(self, authorization: bytes | None, user: bytes) -> Answer:
        raise RuntimeError("a secret of the implementation")


async def test_a_defect_is_a_problem_that_tells_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = idle_application(Defective)

    answer = await app.test_client().get("/users/u/balance")

    assert (answer.status_code, answer.headers["Content-Type"]) == (
        500,
        "application/problem+json",
    )
    body = await answer.get_data(as_text=True)
    assert json.loads(body)["type"] == "/docs#internal-error"
    assert "secret" not in body
    assert "a secret of the implementation" in caplog.text
