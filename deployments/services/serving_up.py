"""The online services of one machine: one for each use case that declares `serving`, as processes of the stack.

It waits until a service answers at all, not until it is ready: before the first release there is nothing to answer
with, and from then on it follows the journal by itself.
"""

from collections.abc import Callable
from pathlib import Path

from blocks.stack import Service, Stack, serving_name
from deployments.services.launches import serving_launch
from deployments.services.ports import choose_port, listens
from deployments.services.processes import answers, is_well, record, replace, stop, wait_until
from perennial.settings import Settings
from perennial.use_case import UseCase
from perennial.use_case_file import load_use_case, use_case_slugs

LIVE, READY = "/v2/health/live", "/v2/health/ready"
_PATIENCE = 60
_NEIGHBOURS = 20
"""Ports after the declared one that are tried before any other."""


def served_use_cases(settings: Settings) -> list[UseCase]:
    """Return the use cases that declare `serving`, by slug.

    Raises:
        InvalidUseCase: One is declared wrong.
    """
    folder = Path(settings.use_cases)
    return [one for slug in use_case_slugs(folder) if (one := load_use_case(folder, slug)).serving]


def services_up(settings: Settings, stack: Stack, tell: Callable[[str], object]) -> list[str]:
    """Start the services that do not run, or run otherwise than declared, and stop those that are declared no more.

    Returns:
        Names of those that were started.

    Raises:
        NotReady: One ended or did not answer; its log is named and quoted.
    """
    wanted = served_use_cases(settings)
    _stop_others({serving_name(one.slug) for one in wanted}, stack, settings)
    started = [one for use_case in wanted if (one := _service_up(use_case, stack, settings))]
    if started:
        tell(f"Waiting for {' and '.join(one.name for one in started)} ...")
    for one in started:
        wait_until(one, "answering", lambda one=one: is_live(one), _PATIENCE)  # type: ignore[misc]
    return [one.name for one in started]


def is_live(service: Service) -> bool:
    """Say whether a service answers at its address, whether or not it has anything to answer with.

    It has to be this process that listens there: any other that has the port would answer just as well.
    """
    return _has_its_port(service) and answers(service.address + LIVE)


def is_ready(service: Service) -> bool:
    """Say whether a service answers requests by a release."""
    return _has_its_port(service) and answers(service.address + READY)


def port_of(name: str, stack: Stack, settings: Settings) -> int:
    """Return a free port for a service: the one it had, else the next of the declared ones, and never another's.

    Those of all others on record are theirs also while they do not listen, so that each keeps its own.
    """
    before, others = stack.services.get(name), {one.port for one in stack.services.values() if one.name != name}
    declared = range(settings.serving_port, settings.serving_port + _NEIGHBOURS)
    return choose_port(settings.serving_host, (*([before.port] if before else []), *declared), others)


def _service_up(use_case: UseCase, stack: Stack, settings: Settings) -> Service | None:
    name, host = serving_name(use_case.slug), settings.serving_host
    before = stack.services.get(name)
    had = before.port if before else settings.serving_port
    launch = serving_launch(settings, use_case, host, had, settings.serving_replicas)
    running = stack.running(name)
    if running and (running.address, running.uses) == (launch.address, launch.uses) and is_well(running, is_live):
        return None
    if before:
        stop(before)
    port = port_of(name, stack, settings)
    return replace(stack, serving_launch(settings, use_case, host, port, settings.serving_replicas), settings)


def _has_its_port(service: Service) -> bool:
    process = service.process
    return process is not None and listens(process, service.port)


def _stop_others(wanted: set[str], stack: Stack, settings: Settings) -> None:
    for one in [each for each in stack.services.values() if each.use_case and each.name not in wanted]:
        stop(one)
        del stack.services[one.name]
        record(stack, settings)
