"""How long a fault reaches callers: each one injected several times under traffic, written to docs/time-to-safe.md.

`make time-to-safe` runs it; `RUNS=2` for a short one. It ends with 1 where anything that is promised was not kept.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from tests.faults.serving.bounds import ARRIVALS, REPLICAS
from tests.faults.serving.scenarios import Outcome, kept, kill_one, let_loose, swap, try_out
from tests.faults.serving.stage import Stage, copied, make_shop, playing
from tests.servers import ROOT

PAGE = ROOT / "docs" / "time-to-safe.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MANY = 100
"""Runs from which a 99th percentile is one; of fewer the worst is told."""
Fault = Callable[[Stage], Outcome]
FAULTS: dict[tuple[str, str], Fault] = {
    ("none: a good version", "release"): swap,
    ("kill -9 in the middle of a swap", "release"): kill_one,
    ("exceptions (5xx)", "release"): lambda stage: let_loose(stage, "fails"),
    ("scores that are no numbers (5xx)", "release"): lambda stage: let_loose(stage, "nan"),
    ("slow", "release"): lambda stage: let_loose(stage, "slow"),
    ("wrong columns", "release"): lambda stage: let_loose(stage, "schema"),
    ("corrupted artifact", "release"): lambda stage: let_loose(stage, "corrupted"),
    ("exceptions", "canary"): lambda stage: try_out(stage, "fails", "canary"),
    ("scores that are no numbers", "canary"): lambda stage: try_out(stage, "nan", "canary"),
    ("slow", "canary"): lambda stage: try_out(stage, "slow", "canary"),
    ("wrong columns", "canary"): lambda stage: try_out(stage, "schema", "canary"),
    ("corrupted artifact", "canary"): lambda stage: try_out(stage, "corrupted", "canary"),
    ("slow", "shadow"): lambda stage: try_out(stage, "slow", "shadow"),
    ("outcomes show a loss", "canary"): lambda stage: try_out(stage, "quality", "canary"),
    ("outcomes show a loss", "release"): lambda stage: let_loose(stage, "quality"),
}
Found = dict[tuple[str, str], list[Outcome]]


def measure(runs: int, broken: list[str]) -> Found:
    """Inject every fault so many times, each run on a service of its own; add what was not kept of all promises."""
    found: Found = {one: [] for one in FAULTS}
    folder = Path(mkdtemp(prefix="time-to-safe-"))
    try:
        (folder / "made").mkdir()
        ws, trained = make_shop(folder / "made")
        for run in range(runs):
            place = folder / f"run-{run}"
            crashpoint = f"serving:between-load-and-swap@{place / 'armed'}"
            place.mkdir()
            with playing(copied(ws, place / "storage"), trained, place, PERENNIAL_CRASHPOINT=crashpoint) as stage:
                one_run(stage, found, broken)
    finally:
        shutil.rmtree(folder)
    return found


def one_run(stage: Stage, found: Found, broken: list[str]) -> None:
    """Inject every fault once, and hold it to what is promised."""
    refused: set[int] = set()
    for name, inject in FAULTS.items():
        outcome = inject(stage)
        refused |= {outcome.refused} if outcome.refused else set()
        found[name].append(outcome)
        try:
            kept(stage, outcome, refused)
        except AssertionError as error:
            broken.append(f"{', '.join(name)}: {str(error)[:500]}")
        said = f"last bad answer after {outcome.safe:.1f} s, {len(outcome.failed)} requests failed"
        print(f"{', '.join(name)}: {said}, load {os.getloadavg()[0]:.1f}", flush=True)


def page(found: Found, load: float) -> str:
    """Write the table."""
    runs = len(next(iter(found.values())))
    lines = [
        f"{runs} runs of each on {os.cpu_count()} cores, {REPLICAS} replicas, {ARRIVALS} requests a second; median / "
        f"{_worst_name(runs)}. The mean load of the machine at the end was {load:.1f}.",
        "",
        "| fault | as a | failed requests | answers by it | taken back after | last bad answer after |",
        "|---|---|---|---|---|---|",
        *(_row(name, outcomes) for name, outcomes in found.items()),
    ]
    return "\n".join(lines)


def _row(name: tuple[str, str], outcomes: Sequence[Outcome]) -> str:
    fault, how = name
    by_it = [len(one.bad) - len(one.failed) for one in outcomes]
    decided = [one.decision for one in outcomes if one.decision is not None]
    cells = [
        _both([len(one.failed) for one in outcomes], "{:.0f}"),
        _both(by_it, "{:.0f}"),
        _both(decided, "{:.1f} s") if decided else "",
        _both([one.safe for one in outcomes], "{:.1f} s") if any(one.bad for one in outcomes) else "none was given",
    ]
    return f"| {fault} | {how} | {' | '.join(cells)} |"


def _both(values: Sequence[float], form: str) -> str:
    place = ceil(0.99 * len(values)) - 1 if len(values) >= MANY else -1
    return f"{form.format(median(values))} / {form.format(sorted(values)[place])}"


def _worst_name(runs: int) -> str:
    return "99th percentile" if runs >= MANY else "worst"


def main() -> int:
    """Measure, write the page, and say whether all was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    broken: list[str] = []
    found = measure(given.runs, broken)
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    table = page(found, os.getloadavg()[0])
    PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}", encoding="utf-8")
    print(table)
    for one in broken:
        print(f"Not kept: {one}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
