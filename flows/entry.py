"""How a flow is run as a command: `python -m flows.<stage> <use case>`; the `perennial` command does more."""

import argparse
import inspect
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from pydantic_core import to_json

from blocks.local import local_run as local_run
from blocks.local import local_settings
from perennial.errors import PerennialError, Permanent


class InvalidMoment(Permanent):
    """A text is neither a date nor a time."""


def now() -> datetime:
    """Read the wall clock, for what is started by hand outside of a flow; nothing else reads it."""
    return datetime.now(UTC)


def parse_moment(text: str) -> datetime:
    """Read a date or a time, UTC where it names no zone.

    Raises:
        InvalidMoment: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidMoment(f"`{text}` is no moment: expected `2013-04-01` or `2013-04-01T06:00`.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_PARAMETERS: dict[str, tuple[Callable[[str], object], str]] = {
    "use_case": (str, "slug of the use case"),
    "period": (str, "day, month or year; by default the newest that has ended"),
    "as_of": (parse_moment, "decide with what was known then; by default now"),
    "reason": (str, "why, for those who ask later"),
    "source": (str, "environment to take the model from"),
    "version": (int, "its version there; by default the one that serves"),
    "patience": (float, "seconds that a run may be silent before it counts as lost"),
}
"""By name of a flow's parameter: how it is read, and what it means."""


def main(flow: Any) -> NoReturn:
    """Run a flow, its parameters given on the command line; an expected error is one message and exit code 1."""
    run_to_end(lambda: _run(flow))


def run_to_end(command: Callable[[], object]) -> NoReturn:
    """Run what this process is for and end the process, without tearing down all that was imported (2 s)."""
    code: object = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run(flow: Any) -> None:
    try:
        given = vars(_parser(flow).parse_args())
        with local_run(local_settings(), given.pop("verbose")):
            print(describe(flow(**given)))
    except PerennialError as error:
        sys.exit(f"{type(error).__name__}: {error} {error.advice}")


def _parser(flow: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=flow.description)
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        convert, about = _PARAMETERS[name]
        if parameter.default is parameter.empty:
            parser.add_argument(name, type=convert, help=about)
        elif name == "use_case":
            parser.add_argument(name, type=convert, nargs="?", help=f"{about}; by default all")
        else:
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=convert, default=parameter.default, help=about)
    parser.add_argument("--verbose", action="store_true", help="show Prefect's log")
    return parser


def describe(found: Any) -> str:
    """Write what a flow returned as JSON lines, one per record or sentence, and none for `None`."""
    several = found if isinstance(found, list) else [found]
    return "\n".join(to_json(one).decode() for one in several if one is not None)
