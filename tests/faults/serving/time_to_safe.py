"""How long a fault reaches callers: each one injected several times under traffic, written to docs/time-to-safe.md.

`make time-to-safe` runs it; `RUNS=2` for a short one. What each injection showed is kept as soon as it is over, so
that a run may be cut short and a later one, with `--add`, goes on where it ended: the page counts all of them. It ends
with 1 where anything that is promised was not kept.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
KEPT = ROOT / ".perennial" / "time-to-safe.jsonl"
MANY = 100
"""Injections from which a 99th percentile is one; of fewer the worst is told."""
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


@dataclass(frozen=True)
class Seen:
    """What one injection showed; one line of `KEPT`."""

    fault: str
    how: str
    failed: int
    by_it: int
    """Answers by the faulty version."""
    decided: float | None
    """Seconds until the record that takes it back."""
    safe: float
    """Seconds until the last bad answer, 0 where there was none."""
    load: float
    """Of the machine, the mean of a minute."""


def seen(name: tuple[str, str], outcome: Outcome) -> Seen:
    """Return what an injection showed."""
    failed = len(outcome.failed)
    by_it = len(outcome.bad) - failed
    return Seen(*name, failed, by_it, outcome.decision, outcome.safe, round(os.getloadavg()[0], 1))


def measure(runs: int, broken: list[str]) -> None:
    """Inject every fault so many times, each run on a service of its own; add what was not kept of all promises."""
    folder = Path(mkdtemp(prefix="time-to-safe-"))
    try:
        (folder / "made").mkdir()
        ws, trained = make_shop(folder / "made")
        for run in range(runs):
            place = folder / f"run-{run}"
            crashpoint = f"serving:between-load-and-swap@{place / 'armed'}"
            place.mkdir()
            with playing(copied(ws, place / "storage"), trained, place, PERENNIAL_CRASHPOINT=crashpoint) as stage:
                one_run(stage, broken)
    finally:
        shutil.rmtree(folder)


def one_run(stage: Stage, broken: list[str]) -> None:
    """Inject every fault once, and hold it to what is promised."""
    refused: set[int] = set()
    for name, inject in FAULTS.items():
        outcome = inject(stage)
        refused |= {outcome.refused} if outcome.refused else set()
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(seen(name, outcome))) + "\n")
        try:
            kept(stage, outcome, refused)
        except AssertionError as error:
            broken.append(f"{', '.join(name)}: {str(error)[:500]}")
        said = f"last bad answer after {outcome.safe:.1f} s, {len(outcome.failed)} requests failed"
        print(f"{', '.join(name)}: {said}, load {os.getloadavg()[0]:.1f}", flush=True)


def page(every: Sequence[Seen]) -> str:
    """Write the tables: each fault, then all that were taken back together, in which a 99th percentile soon is one."""
    by_fault = {name: [one for one in every if (one.fault, one.how) == name] for name in FAULTS}
    counts = sorted({len(found) for found in by_fault.values()})
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    load = median(one.load for one in every)
    lines = [
        f"{runs} runs of each on {os.cpu_count()} cores, {REPLICAS} replicas, {ARRIVALS} requests a second; median / "
        f"worst, from {MANY} runs on median / 99th percentile. The median load of the machine was {load:.1f}.",
        "",
        "| fault | as a | failed requests | answers by it | taken back after | last bad answer after |",
        "|---|---|---|---|---|---|",
        *(_row(name, found) for name, found in by_fault.items() if found),
        "",
        *pooled(every),
    ]
    return "\n".join(lines)


def pooled(every: Sequence[Seen]) -> list[str]:
    """Write one table over all injections that were taken back, whatever the fault: each weighs the same."""
    decided = [one.decided for one in every if one.decided is not None]
    safe = [one.safe for one in every if one.decided is not None]
    high = "99th percentile" if len(decided) >= MANY else "worst"
    return [
        f"| all {len(decided)} injections that were taken back, pooled over the faults | median | {high} |",
        "|---|---|---|",
        *(
            f"| {what} | {_both(values, '{:.1f} s').replace(' / ', ' | ')} |"
            for what, values in (("taken back after", decided), ("last bad answer after, 0 where none was given", safe))
            if values
        ),
    ]


def _row(name: tuple[str, str], found: Sequence[Seen]) -> str:
    decided = [one.decided for one in found if one.decided is not None]
    cells = [
        _both([one.failed for one in found], "{:.0f}"),
        _both([one.by_it for one in found], "{:.0f}"),
        _both(decided, "{:.1f} s") if decided else "",
        _both([one.safe for one in found], "{:.1f} s") if any(one.safe for one in found) else "none was given",
    ]
    return f"| {' | '.join([*name, *cells])} |"


def _both(values: Sequence[float], form: str) -> str:
    place = ceil(0.99 * len(values)) - 1 if len(values) >= MANY else -1
    return f"{form.format(median(values))} / {form.format(sorted(values)[place])}"


def main() -> int:
    """Measure, write the page, and say whether all was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--add", action="store_true", help="To what earlier runs showed.")
    given = parser.parse_args()
    KEPT.parent.mkdir(exist_ok=True)
    if not given.add:
        KEPT.unlink(missing_ok=True)
    broken: list[str] = []
    measure(given.runs, broken)
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    table = page([Seen(**json.loads(one)) for one in KEPT.read_text(encoding="utf-8").splitlines()])
    PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}", encoding="utf-8")
    print(table)
    for one in broken:
        print(f"Not kept: {one}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
