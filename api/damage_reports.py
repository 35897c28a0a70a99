"""What was found in the store that was not written so: for the operator, not for the caller."""

import structlog

events = structlog.stdlib.get_logger("bitburst")


class DamageReports:
    """Logs each, and counts them.

    Attributes:
        count: requests that met damage.
    """

    def __init__(self) -> None:
        self.count = 0

    def report(self, reason: str, request_id: bytes = b"") -> None:
        """
        Args:
            reason: where the damage is.
            request_id: of the request that met it, if that has one, and the log does not know it.
        """
        self.count += 1
        concerned = {"request_id": request_id.decode()} if request_id else {}
        events.error("the store is damaged", reason=reason, **concerned)
