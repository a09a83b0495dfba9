"""The metrics endpoint: at each scrape the journals and the Prefect server of one environment are asked.

A server that is away is `perennial_up` 0, and the journals are told all the same. It keeps nothing but what the
journals have told already, so that it may be started, stopped and doubled at will.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic

import httpx
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deployments.item import pool_name
from deployments.observability.journals import journal_metrics
from deployments.observability.orchestration import orchestration_metrics
from deployments.observability.serving import serving_metrics
from deployments.server import server_of
from perennial.errors import PerennialError, Permanent
from perennial.settings import Settings
from perennial.use_case_file import use_case_slugs
from perennial.workspace import Workspace

_PATIENCE = 10.0
_AWAY = (PerennialError, PrefectException, httpx.HTTPError)


class PortTaken(Permanent):
    """Something else listens there."""


class PerennialCollector(Collector):
    """Gives the numbers of one environment, one scrape at a time."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock
        self._workspaces: dict[str, Workspace] = {}
        self._scraping = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Ask the journals and the server; an error of either is a number, never an exception."""
        with self._scraping:
            began = monotonic()
            families = [*self._of_journals(), *self._of_server()]
            took = GaugeMetricFamily("perennial_scrape_seconds", "What it took to ask for all this.")
            took.add_metric([], monotonic() - began)
            return [*families, took]

    def _of_journals(self) -> list[Metric]:
        environment, labels = self._settings.environment, ("use_case", "environment")
        up = GaugeMetricFamily("perennial_use_case_up", "Whether the use case is declared right.", labels=labels)
        opened = {slug: self._opened(slug) for slug in use_case_slugs(Path(self._settings.use_cases))}
        for slug, workspace in opened.items():
            up.add_metric([slug, environment], int(workspace is not None))
        found = [one for one in opened.values() if one]
        return [up, *journal_metrics(found, environment), *serving_metrics(found, environment, self._clock())]

    def _opened(self, slug: str) -> Workspace | None:
        """Each journal is read once, later only its news; a use case that is declared wrong has none."""
        if slug not in self._workspaces:
            try:
                self._workspaces[slug] = Workspace.open(slug, self._settings)
            except PerennialError:
                return None
        return self._workspaces[slug]

    def _of_server(self) -> list[Metric]:
        environment = self._settings.environment
        up = GaugeMetricFamily("perennial_up", "Whether the Prefect server answered.", labels=("environment",))
        quick = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: _PATIENCE}
        try:
            with temporary_settings(quick), server_of(self._settings) as client:
                found = list(orchestration_metrics(client, environment, pool_name(environment), self._clock()))
        except _AWAY:
            up.add_metric([environment], 0)
            return [up]
        up.add_metric([environment], 1)
        return [up, *found]


@contextmanager
def serving(settings: Settings, clock: Callable[[], datetime], host: str, port: int) -> Iterator[int]:
    """Answer scrapes at `/metrics` until the block ends; yields the port, a free one for 0.

    Raises:
        PortTaken: Something else listens there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PerennialCollector(settings, clock))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise PortTaken(f"Nothing can listen on {host}:{port} ({error.strerror}). Choose another `--port`.") from None
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
