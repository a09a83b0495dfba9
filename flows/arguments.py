"""How the parameters of a flow are written on a command line, and what it returned in lines; it runs nothing."""

import argparse
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from perennial.errors import Permanent


class InvalidMoment(Permanent):
    """A text is neither a date nor a time."""


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


def parser_of(flow: Any) -> argparse.ArgumentParser:
    """Return what reads the parameters of a flow from a command line; those without a default come by position."""
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
