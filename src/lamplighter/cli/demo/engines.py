"""The demo's endpoints and the processes behind them, looked at from inside the server's process."""

from __future__ import annotations

from urllib.parse import urlsplit

import psutil

from lamplighter.api.wire import EndpointStatus
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.domain.endpoint import Endpoint
from lamplighter.runtime import Server


def view(server: Server, name: str) -> EndpointView:
    """An endpoint as the status route shows it."""
    return _view(server, server.fleet.endpoint(name))


def views(server: Server) -> list[EndpointView]:
    """All of them."""
    return [_view(server, endpoint) for endpoint in server.fleet.endpoints()]


def _view(server: Server, endpoint: Endpoint) -> EndpointView:
    return EndpointView.of(endpoint.spec.name, EndpointStatus.of(endpoint, server.url).model_dump(mode="json"))


def process_of(server: Server, name: str) -> psutil.Process | None:
    """The engine's process: that child of ours that listens where requests are sent to."""
    ports = {urlsplit(replica.url).port for replica in server.fleet.endpoint(name).replicas}
    for child in psutil.Process().children(recursive=True):
        try:
            listening = [one.laddr.port for one in child.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        except psutil.Error:
            continue
        if ports.intersection(listening):
            return child
    return None


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
