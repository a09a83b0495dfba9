"""What `perennial doctor` asks of the online services: whether they run, are ready, took on the release, and are shut.

It reads what replicas report, and asks each service that was started here whether it answers.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from blocks.stack import Service, read_stack, serving_name
from deployments.services.doctor import Check, Finding, ok, problem
from deployments.services.errors import TokensMissing
from deployments.services.ports import is_free, who_listens
from deployments.services.processes import last_lines
from deployments.services.serving_alone import require_tokens
from deployments.services.serving_overview import service_of
from deployments.services.serving_up import is_live, served_use_cases
from perennial.settings import Settings
from perennial.use_case import UseCase
from perennial.workspace import Workspace

_UP = "`perennial up` starts it again."


def checks(now: Callable[[], datetime]) -> tuple[Check, ...]:
    """Return the checks of the services; `now` is the clock of this machine."""

    def _online_services(settings: Settings) -> Iterator[Finding]:
        wanted = served_use_cases(settings)
        if not wanted:
            return
        try:
            require_tokens(settings, settings.serving_host)
        except TokensMissing as error:
            yield problem("tokens", str(error), "Set the variable, and run `perennial up`.")
        for one in wanted:
            yield _service(one, settings, now())

    return (_online_services,)


def _service(use_case: UseCase, settings: Settings, now: datetime) -> Finding:
    check = f"serve {use_case.slug}"
    stack = read_stack(settings)
    told = service_of(Workspace(use_case, settings), now) or {}
    service = stack.services.get(serving_name(use_case.slug))
    if service is None and not told["replicas"]:
        if stack.services:
            return problem(check, "It is declared, and was not started here.", "`perennial up` starts it.")
        return Finding(check, "skipped", "It is declared, and nothing was started on this machine.")
    if service and (found := _process(check, service)):
        return found
    return _replicas(check, told, settings)


def _process(check: str, service: Service) -> Finding | None:
    host, _, port = service.address.removeprefix("http://").rpartition(":")
    if service.process is None:
        if not is_free(host, int(port)):
            remedy = f"{_UP[:-1]} on another port, or set PERENNIAL_SERVING_PORT."
            return problem(check, f"It ended, and {who_listens(int(port))} has its port {port} now.", remedy)
        return problem(check, f"It ended. `{service.log}` ends with:\n{last_lines(service.log, 4)}", _UP)
    if not is_live(service):
        return problem(check, f"{service.address} does not answer.", f"See `{service.log}`; {_UP}")
    return None


def _replicas(check: str, told: dict[str, Any], settings: Settings) -> Finding:
    where = f"{told['address']}: " if told["address"] else ""
    if told["released"] is None:
        remedy = "`perennial pipeline` trains and releases a first version; it follows by itself."
        return Finding(check, "skipped", f"{where}{told['trouble']}.", remedy)
    if told["refused"]:
        one = told["refused"][0]
        remedy = "It goes on with what it had and tries again. `perennial rollback` withdraws the release."
        return problem(check, f"{where}replica {one['replica']} refused {one['what']}: {one['why']}", remedy)
    if told["trouble"]:
        return problem(check, f"{where}{told['trouble']}.", "Wait some seconds, then see its log.")
    if told["started_here"] and told["replicas"] < settings.serving_replicas:
        missing = f"{told['replicas']} of {settings.serving_replicas} replicas report"
        return problem(check, f"{where}{missing}.", "The supervisor starts them again; see its log for why they end.")
    if told["dropped_rows"]:
        lost = f"{told['dropped_rows']:,} answers were never logged: the storage was away for too long"
        return problem(check, f"{where}{lost}.", "Mend the storage; the count starts anew with the service.")
    by = ", ".join(f"release {one['release']} (version {one['version']})" for one in told["answers_by"])
    return ok(check, f"{where}{told['ready']} replicas answer by {by}.")
