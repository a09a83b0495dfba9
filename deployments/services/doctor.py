"""`perennial doctor`: what is missing in an environment and how to mend it; it mends nothing.

Each finding is `ok`, a `problem` with its remedy, or `skipped` because of another one. Names of secrets are told,
never values.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from perennial.errors import PerennialError
from perennial.settings import Settings


@dataclass(frozen=True)
class Finding:
    """What one check saw, and what to do where that is not as it should be."""

    check: str
    state: Literal["ok", "problem", "skipped"]
    summary: str
    remedy: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def ok(check: str, summary: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(check, "ok", summary)


def problem(check: str, summary: str, remedy: str) -> Finding:
    """Return a finding of something that has to be mended."""
    return Finding(check, "problem", summary, remedy)


def examine(now: Callable[[], datetime]) -> Iterator[Finding]:
    """Check this machine, then the environment, then its servers, telling each finding as soon as it is known.

    Args:
        now: The clock of this machine, to be compared with the server's.
    """
    from blocks.documents import read_settings
    from blocks.secrets import know_secrets, redacted
    from deployments.services import examining_machine, examining_server, examining_services

    yield from examining_machine.installation()
    try:
        settings = read_settings()
    except PerennialError as error:
        yield problem("environment", str(error), "Mend the document in blocks/environments/ or the variable.")
        return
    yield ok("environment", f"`{settings.environment}` is valid; it keeps its things in `{settings.storage_root}`.")
    know_secrets(settings)
    checks = (*examining_machine.CHECKS, *examining_server.checks(now), *examining_services.checks(now))
    for check in checks:
        for one in _guarded(check, settings):
            yield replace(one, summary=redacted(one.summary), remedy=redacted(one.remedy))


def _guarded(check: Check, settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except Exception as error:  # a check that cannot be made is a finding too
        name = check.__name__.strip("_").replace("_", " ")
        said = (str(error).splitlines() or [""])[0]
        yield problem(name, f"could not be checked: {type(error).__name__}: {said}", "Mend that and ask again.")
