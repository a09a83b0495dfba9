"""`make bench-serving`: the service beside others with one worker each, in turn, and what a booster alone would do.

All of them run all the time, and one at a time is asked. Ours gets raw fields and computes the features; the others
get ready-made numbers.
"""

import argparse
import os
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from tests.benchmarks.serving.contenders import Contender, NotInstalled, contenders
from tests.benchmarks.serving.figures import FLOOR, FORMS, Run, Start, table
from tests.benchmarks.serving.load import ask, call
from tests.benchmarks.serving.preparing import ROOT, Prepared, prepare
from tests.benchmarks.serving.processes import NoAnswer, Running, running

PAGE = ROOT / "docs" / "serving-bench.md"
WARM = 2
"""Seconds of each form before anything counts."""


def main() -> None:
    """Run what is asked for and print the table."""
    given = _arguments()
    if not shutil.which("wrk"):
        raise SystemExit("`wrk` is not installed. Expected the load tool of that name: `apt-get install wrk`.")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # what was started is stopped then too
    prepared = prepare(ROOT / ".bench" / "serving")
    began = os.getloadavg()[0]
    seconds: dict[str, list[float]] = defaultdict(list)
    there = [*_installed(prepared, given.only)]
    for _ in range(given.starts - 1):
        for one in there:
            with running(one, prepared) as up:
                seconds[one.name].append(up.seconds)
    with ExitStack() as stack:
        up = [*_started(there, prepared, stack)]
        runs = _rounds(up, prepared, given.rounds, given.seconds)
        starts = {one.contender.name: Start((*seconds[one.contender.name], one.seconds), *one.memory()) for one in up}
    told = f"{_conditions(given, began)}\n\n{table(runs, starts)}"
    print(told)
    if given.write:
        head = PAGE.read_text().partition("<!-- measured -->")[0]
        PAGE.write_text(f"{head}<!-- measured -->\n\n{told}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of all contenders and forms in turn")
    parser.add_argument("--seconds", type=int, default=4, help="of one contender in one form and round")
    parser.add_argument("--starts", type=int, default=3, help="of each contender")
    parser.add_argument("--only", default="", help="what the names of the contenders contain")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    return parser.parse_args()


def _installed(prepared: Prepared, only: str) -> Iterator[Contender]:
    for get in contenders(prepared):
        try:
            one = get()
        except NotInstalled as error:
            print(f"Without one contender: {error}", flush=True)
            continue
        if only in one.name:
            yield one


def _started(there: Sequence[Contender], prepared: Prepared, stack: ExitStack) -> Iterator[Running]:
    for one in there:
        try:
            yield stack.enter_context(running(one, prepared))
        except NoAnswer as error:
            print(f"Without {one.name}: {error}", flush=True)


def _rounds(up: Sequence[Running], prepared: Prepared, rounds: int, seconds: int) -> dict[tuple[str, str], list[Run]]:
    runs: dict[tuple[str, str], list[Run]] = {}
    for form in FORMS:
        for one in up:
            ask(one, prepared, form, WARM)
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", flush=True)
        for form in FORMS:
            for one in up:
                runs.setdefault((one.contender.name, form), []).append(ask(one, prepared, form, seconds))
            runs.setdefault((FLOOR, form), []).append(call(prepared, form, seconds))
    return runs


def _conditions(given: argparse.Namespace, load: float) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared with wrk, load {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; medians of "
        f"{given.rounds} rounds of {given.seconds} s each, in turn."
    )


if __name__ == "__main__":
    main()
