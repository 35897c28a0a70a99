"""Hypercorn's configuration, with what observes its requests."""

from hypercorn.config import Config

from api.observation import Observation
from api.request_counts import OTHER
from api.request_ids import HEADER


class ObservedConfig(Config):
    """Hypercorn hands its configuration to everything that answers."""

    def __init__(self, observation: Observation) -> None:
        super().__init__()
        self.observation = observation


def observation_of(config: Config) -> Observation:
    assert isinstance(config, ObservedConfig)
    return config.observation


def refused_by(observation: Observation, status_code: int) -> list[tuple[bytes, bytes]]:
    """Counts what never reaches the application, and returns the header line with its id."""
    if observation.hypercorn is not None:
        observation.hypercorn.of(OTHER).answered(status_code, 0)
    request_id = observation.ids.of(b"")
    return [(HEADER, request_id)] if request_id else []
