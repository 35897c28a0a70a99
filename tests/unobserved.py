"""What watches over a server, where a test has no eyes for it."""

from api.damage_reports import DamageReports
from api.limit_hits import LimitHits
from api.observation import Observation
from api.request_ids import request_ids


def unobserved() -> Observation:
    """Counts no requests, and gives them no ids."""
    return Observation(LimitHits(), DamageReports(), request_ids("off"))
