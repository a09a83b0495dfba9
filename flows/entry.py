"""How a flow is run as a command: `python -m flows.<stage> <use case>`; the `perennial` command does more."""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

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


def main(flow: Any) -> NoReturn:
    """Run a flow with the arguments of the command line; an expected error is one message and exit code 1."""
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
    parser = argparse.ArgumentParser(description=flow.description)
    parser.add_argument("use_case", help="slug of the use case")
    parser.add_argument("--period", help="day, month or year; by default the newest that has ended")
    parser.add_argument("--as-of", help="decide with what was known then; by default now")
    parser.add_argument("--verbose", action="store_true", help="show Prefect's log")
    given = parser.parse_args()
    try:
        as_of = parse_moment(given.as_of) if given.as_of else None
        with local_run(local_settings(), given.verbose):
            print(describe(flow(given.use_case, period=given.period, as_of=as_of)))
    except PerennialError as error:
        sys.exit(f"{type(error).__name__}: {error} {error.advice}")


def describe(records: Any) -> str:
    """Write what a flow returned as JSON lines, one per record."""
    return "\n".join(one.model_dump_json() for one in (records if isinstance(records, list) else [records]))
