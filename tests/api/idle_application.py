"""The application over a ledger that does not run: for what never comes to it."""

from quart import Quart
from unobserved import unobserved

from api.admission import Admission
from api.app import create_app
from api.handlers import Handlers
from api.metrics import Metrics
from ledger_actors.ledger import Ledger, Limits
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots


def idle_application(handlers: type[Handlers] = Handlers, metrics: Metrics | None = None) -> Quart:
    log = MemoryLog()
    ledger = Ledger(log, MemorySnapshots(log), ManualClock(), 1, Limits(), lambda *_: None)
    observation = unobserved()
    return create_app(
        handlers(ledger, Admission(), observation.limits),
        body_bytes_max=1,
        bulk_bytes_max=1,
        request_timeout_s=1.0,
        observation=observation,
        metrics=metrics,
    )
