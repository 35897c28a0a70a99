"""The HTTP side of the server, put together: listener, TLS, fast lane, Hypercorn, application."""

import logging
import resource
import socket
import ssl
import sys
from ipaddress import ip_address
from typing import Final

import structlog
import trio

from api.admission import Admission
from api.app import create_app
from api.damage_reports import DamageReports
from api.fast_lane import FastLane
from api.handlers import Handlers
from api.http1_protocol import HEAD_BYTES_MAX
from api.hypercorn_server import HypercornServer
from api.limit_hits import LimitHits
from api.metrics import Metrics
from api.observation import Observation, Tracer
from api.observed_config import ObservedConfig
from api.request_counts import RequestCounts
from api.request_ids import request_ids
from api.request_metrics import LaneMetrics, RequestMetrics
from api.settings import Settings
from api.tls import TlsSocket, tls_context
from ledger_actors.ledger import Ledger
from persistence.errors import StoreError

OTHER_FILES: Final = 64
"""Open files beside connections: of the store, of epoll, of the snapshotter."""

events = structlog.stdlib.get_logger("bitburst")


class Listener:
    """Where the server listens, and how."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            StoreError: the address, or what TLS needs, cannot be used.
        """
        self.tls = _tls(settings)
        _allow_connections(settings.connections_max)
        self.socket = _listen(settings.host, settings.port)

    @property
    def reached_from_elsewhere(self) -> bool:
        """Whether the address is one that other machines may reach."""
        return not ip_address(self.socket.getsockname()[0].partition("%")[0]).is_loopback

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def close(self) -> None:
        self.socket.close()


async def serve_http(
    ledger: Ledger,
    admission: Admission,
    listener: Listener,
    settings: Settings,
    stop: trio.Event,
    metrics: Metrics | None,
    tracer: Tracer | None,
) -> None:
    """Serves until it is to stop and has answered what is in flight; then closes the ledger."""
    observation = _observation(settings, tracer)
    handlers = Handlers(ledger, admission, observation.limits)
    app = create_app(
        handlers,
        body_bytes_max=settings.body_bytes_max,
        bulk_bytes_max=settings.bulk_bytes_max,
        request_timeout_s=settings.request_timeout_s,
        observation=observation,
        metrics=metrics,
    )
    hypercorn = HypercornServer(
        app,
        _hypercorn_config(settings, observation),
        settings.request_timeout_s,
        listener.tls,
        connections_max=settings.connections_max,
    )
    if metrics is not None:
        metrics.add(RequestMetrics(observation, ledger, hypercorn, settings.connections_max))
    if settings.server == "hypercorn":
        await hypercorn.serve(listener.socket, stop)
    else:
        await _serve_lane(handlers, hypercorn, listener, settings, stop, observation, metrics)
    ledger.close()


async def _serve_lane(
    handlers: Handlers,
    hypercorn: HypercornServer,
    listener: Listener,
    settings: Settings,
    stop: trio.Event,
    observation: Observation,
    metrics: Metrics | None,
) -> None:
    async with trio.open_nursery() as nursery:

        def hand_over(taken: socket.socket | TlsSocket, received: bytes) -> None:
            nursery.start_soon(hypercorn.take, taken, received)

        lane = FastLane(
            listener.socket,
            handlers,
            hand_over,
            lambda: hypercorn.connections,
            body_bytes_max=settings.body_bytes_max,
            bulk_bytes_max=settings.bulk_bytes_max,
            connections_max=settings.connections_max,
            request_timeout_s=settings.request_timeout_s,
            keep_alive_s=settings.keep_alive_s,
            observation=observation,
            tls=listener.tls,
        )
        if metrics is not None:
            metrics.add(LaneMetrics(lane))
        nursery.start_soon(lane.serve)
        await stop.wait()
        lane.stop()
        await hypercorn.finish()
        nursery.cancel_scope.deadline = trio.current_time() + settings.shutdown_s


def _observation(settings: Settings, tracer: Tracer | None) -> Observation:
    counted = settings.metrics == "on"
    return Observation(
        limits=LimitHits(),
        damage=DamageReports(),
        ids=request_ids(settings.request_ids),
        lane=RequestCounts() if counted else None,
        hypercorn=RequestCounts() if counted else None,
        tracer=tracer,
    )


def _hypercorn_config(settings: Settings, observation: Observation) -> ObservedConfig:
    config = ObservedConfig(observation)
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    config.keep_alive_timeout = settings.keep_alive_s
    # Hypercorn would close a connection after so many without announcing it: the caller of the
    # next request could not know whether it arrived.
    config.keep_alive_max_requests = sys.maxsize
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.h2_max_header_list_size = HEAD_BYTES_MAX
    config.graceful_timeout = settings.shutdown_s
    return config


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=1024)
    except OSError as error:
        # socket adds to the reason what is said here already.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise StoreError(f"cannot listen on {host} port {port}: {reason}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise StoreError("--tls-client-ca needs --tls-certificate and --tls-key")
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise StoreError("TLS needs both --tls-certificate and --tls-key")
    return tls_context(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def _allow_connections(connections_max: int) -> None:
    """Raises the limit of open files, as far as it may be, so that so many connections fit."""
    wanted = connections_max + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        events.warning(
            "fewer connections than allowed will fit", open_files_max=hard, wanted=wanted
        )
