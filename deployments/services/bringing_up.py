"""`perennial up`: start what does not run yet, wait until it answers, and apply the environment.

The servers come first, then the worker, then the online services, which need neither.

A server that the environment names elsewhere (`prefect_api_url`, `mlflow_tracking_uri`) is not started here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from blocks.stack import MLFLOW, PREFECT, WORKER, Service, Stack, connected, read_stack
from deployments.services.application import apply_environment, last_heartbeat
from deployments.services.launches import Launch, mlflow_launch, prefect_launch, worker_launch
from deployments.services.ports import choose_port
from deployments.services.processes import answers, changing, is_well, replace, stop, wait_until
from deployments.services.serving_up import services_up
from perennial.settings import Settings

LOOPBACK = "127.0.0.1"
_PREFERRED = {PREFECT: 4200, MLFLOW: 5000}
_HEALTH = {PREFECT: "/api/health", MLFLOW: "/health"}
_PATIENCE = 180


class BroughtUp(NamedTuple):
    """What had to be done so that all of it runs."""

    started: list[str]
    """Names of services; none when all of them ran."""
    changed: int
    """How much the server had otherwise than the code declares it."""


@dataclass(frozen=True)
class Place:
    """Where servers are to listen: loopback and the usual ports, or free ones where these are taken."""

    host: str = LOOPBACK
    prefect_port: int | None = None
    mlflow_port: int | None = None

    @property
    def is_public(self) -> bool:
        """True when other machines can reach it."""
        return self.host not in (LOOPBACK, "localhost", "::1")

    def port(self, name: str, before: Service | None) -> int:
        """Return the port of a server: the given one, else the one it had, else the usual one, else a free one."""
        given = self.prefect_port if name == PREFECT else self.mlflow_port
        if given:
            return given
        had = [before.port] if before and before.address else []
        return choose_port(self.host, (*had, _PREFERRED[name]))


def bring_up(settings: Settings, place: Place, tell: Callable[[str], object] = lambda _: None) -> BroughtUp:
    """Let the servers, a worker and the online services of an environment run on this machine, as the code says now.

    What runs and answers is left alone; what has ended or hangs is started again, at its old address where that is
    free. All of it outlives this process. The environment is applied each time: a use case may be new.

    Args:
        settings: The environment.
        place: Where servers that have to be started listen.
        tell: Gets a sentence on each step, for people.

    Raises:
        MissingDatabase: Outside dev, and nobody said where the databases are.
        NotReady: A service ended or did not answer; its log is named and quoted.
    """
    with changing(settings):
        stack, started = _servers_up(settings, place, tell)
        with connected(settings):
            tell(f"Applying the environment {settings.environment} ...")
            changed = apply_environment(settings)
            launch, worker = worker_launch(settings, *_addresses(settings, stack)), stack.running(WORKER)
            if started or worker is None or worker.uses != launch.uses:
                _worker_up(settings, stack, launch)
                started.append(WORKER)
        started += services_up(settings, stack, tell)
    return BroughtUp(started, changed)


def _servers_up(settings: Settings, place: Place, tell: Callable[[str], object]) -> tuple[Stack, list[str]]:
    stack, started = read_stack(settings), list[str]()
    for name in _wanted(settings):
        if not is_well(stack.running(name), _is_ready):
            replace(stack, _launch(name, settings, place, stack.services.get(name)), settings)
            started.append(name)
    if started:
        tell(f"Waiting for {' and '.join(started)} ...")
    for name in started:
        service = stack.services[name]
        wait_until(service, "ready", lambda one=service: _is_ready(one), _PATIENCE)  # type: ignore[misc]
    return stack, started


def _worker_up(settings: Settings, stack: Stack, launch: Launch) -> None:
    before = last_heartbeat(settings)
    worker = replace(stack, launch, settings)
    wait_until(worker, "online", lambda: last_heartbeat(settings) != before, _PATIENCE)


def _wanted(settings: Settings) -> list[str]:
    elsewhere = {PREFECT: settings.prefect_api_url, MLFLOW: settings.mlflow_tracking_uri}
    return [name for name, address in elsewhere.items() if not address]


def _addresses(settings: Settings, stack: Stack) -> tuple[str, str]:
    servers = {name: stack.services[name].address for name in _wanted(settings)}
    api = f"{servers[PREFECT]}/api" if PREFECT in servers else settings.prefect_api_url
    return api, servers.get(MLFLOW, "")


def _launch(name: str, settings: Settings, place: Place, before: Service | None) -> Launch:
    if before:
        stop(before)
    launch = prefect_launch if name == PREFECT else mlflow_launch
    return launch(settings, place.host, place.port(name, before))


def _is_ready(service: Service) -> bool:
    return answers(service.address + _HEALTH[service.name])
