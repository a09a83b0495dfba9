"""How a flow is run as a command: `python -m flows.<stage> <use case>`; the `perennial` command does more."""

import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from blocks.local import local_run as local_run
from blocks.local import local_settings
from flows.arguments import describe, parser_of
from perennial.errors import PerennialError


def now() -> datetime:
    """Read the wall clock, which flows do nowhere else; what they compute is as of a moment that they are told."""
    return datetime.now(UTC)


def main(flow: Any) -> NoReturn:
    """Run a flow, its parameters given on the command line; an expected error is one message and exit code 1."""
    run_to_end(lambda: _run(flow))


def run_to_end(command: Callable[[], object]) -> NoReturn:
    """Run what this process is for and end the process, without tearing down all that was imported (2 s).

    An error that nobody expected is shown as Python does, but without what libraries say when they are torn down.
    """
    code: object = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run(flow: Any) -> None:
    try:
        given = vars(parser_of(flow).parse_args())
        with local_run(local_settings(), given.pop("verbose")):
            print(describe(flow(**given)))
    except PerennialError as error:
        sys.exit(f"{type(error).__name__}: {error} {error.advice}")
