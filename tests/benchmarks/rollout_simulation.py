"""`make simulation`: how often an equally good version is refused, and how soon a worse one, as measured.

The decision itself is asked (`decide_rollout`), with the counts that replicas would report every second. It writes the
table and the chart in docs/rollout.md, and fails when an equally good version is refused more often than declared.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perennial.release.reports import Counts
from perennial.release.rollout_decision import Evidence, Losses, decide_rollout
from perennial.serving_spec import Serving
from perennial.values import Answer

PAGE = Path(__file__).parents[2] / "docs" / "rollout.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ALPHA = 0.05
SERVING = Serving.model_validate(
    {"rollout": "canary", "trial": {"alpha": ALPHA, "disagreement": 0.05, "max_loss": 0.01, "min_answers": 1_000_000}}
)
PER_HOUR = 100
"""Answers per arm and hour, each with a label."""
PER_LOOK, LOOKS = 5, 400
"""Answers per arm between two looks, and looks: 2,000 answers per arm, the length of a busy step."""


@dataclass(frozen=True)
class World:
    """What is true of the version on trial (first) and of the other; everything else follows by chance."""

    name: str
    errors: tuple[float, float] = (0.005, 0.005)
    slow: tuple[float, float] = (0.03, 0.03)
    disagreement: float = 0.03
    """Mean absolute difference of the scores."""
    loss: float = 0.0
    """Mean difference of the losses."""
    spread: float = 0.15
    """Standard deviation of the differences of the losses."""
    together: int = 1
    """Answers that share one fate, as the rows of one request may."""
    hours: float = 0.0
    """Standard deviation of what an hour by itself adds to all differences of the losses of its answers."""


EQUAL = (
    World("healthy, equal losses"),
    World("both at the limits of health", errors=(0.01, 0.01), slow=(0.05, 0.05)),
    World("both ill", errors=(0.08, 0.08), slow=(0.3, 0.3)),
    World("loss and disagreement at their limits", disagreement=0.05, loss=0.01),
    World("everything at its limit", errors=(0.01, 0.01), slow=(0.05, 0.05), disagreement=0.05, loss=0.01),
    *(
        World(f"at the limits of health, {size} rows share their fate", (0.01, 0.01), (0.05, 0.05), together=size)
        for size in (5, 20)
    ),
    *(World(f"hours favour one or the other by {hours:g}", hours=hours) for hours in (0.02, 0.05)),
    World("loss at its limit, hours favour one or the other by 0.05", loss=0.01, hours=0.05),
)
WORSE = (
    *(World(f"{rate:.0%} of the answers fail", errors=(rate, 0.005)) for rate in (0.02, 0.03, 0.05, 0.1, 0.3)),
    *(World(f"{rate:.0%} of the answers are slow", slow=(rate, 0.03)) for rate in (0.1, 0.15, 0.25, 0.5)),
    *(World(f"the scores differ by {mean:g}", disagreement=mean) for mean in (0.075, 0.1, 0.2)),
    *(World(f"the loss is higher by {loss:g}", loss=loss) for loss in (0.02, 0.03, 0.05, 0.1, 0.2, 0.4)),
    *(
        World(f"the loss is higher by {loss:g}, hours favour one or the other by 0.05", loss=loss, hours=0.05)
        for loss in (0.05, 0.1)
    ),
)


def first_refusal(world: World, seed: int) -> int | None:
    """Live through one trial and return the number of answers after which it was refused; `None` if it was not."""
    random = np.random.default_rng(seed)
    answers = LOOKS * PER_LOOK
    hours = np.random.default_rng([seed, 1]).normal(0, world.hours, answers // PER_HOUR)
    losses = np.clip(random.normal(world.loss, world.spread, answers) + np.repeat(hours, PER_HOUR), -1, 1)
    means = losses.reshape(-1, PER_HOUR).mean(axis=1)
    ours, theirs = (_cumulative(world, arm, random) for arm in (0, 1))
    for look in range(LOOKS):
        given = (look + 1) * PER_LOOK
        known = Losses(losses[:given], SERVING.trial.max_loss, spans=means[: given // PER_HOUR])
        found = Evidence(3, 3, {}, 0, ours(look), theirs(look), 0, known)
        if decide_rollout(found, SERVING, is_last=False, is_overdue=False).answer is Answer.FAIL:
            return given
    return None


def _cumulative(world: World, arm: int, random: np.random.Generator) -> Callable[[int], Counts]:
    answers = LOOKS * PER_LOOK
    fates = -(-answers // world.together)

    def drawn(rate: float) -> np.ndarray:
        return np.repeat(random.random(fates) < rate, world.together)[:answers].cumsum()

    errors, slow = drawn(world.errors[arm]), drawn(world.slow[arm])
    apart = random.exponential(world.disagreement, answers)
    sums, squares = apart.cumsum(), (apart**2).cumsum()

    def counts(look: int) -> Counts:
        last = (look + 1) * PER_LOOK - 1
        return Counts(
            answers=last + 1,
            errors=int(errors[last]),
            slow=int(slow[last]),
            together=(last + 1) * world.together,
            compared=last + 1,
            difference=float(sums[last]),
            squared_difference=float(squares[last]),
        )

    return counts


def refusals(world: World, runs: int, workers: int = 1) -> list[int | None]:
    """Live through many trials."""
    seeds = range(runs)
    if workers == 1:
        return [first_refusal(world, seed) for seed in seeds]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(first_refusal, [world] * runs, seeds, chunksize=10))


def rows(runs: int, workers: int) -> Iterator[tuple[str, World, list[int | None]]]:
    """Live through every world, the equal ones `runs` times, the worse ones a fifth of that."""
    for kind, worlds, count in (("equal", EQUAL, runs), ("worse", WORSE, runs // 5)):
        for world in worlds:
            found = refusals(world, count, workers)
            print(f"{world.name}: {share(found):.1%} of {count} refused", flush=True)
            yield kind, world, found


def share(found: list[int | None]) -> float:
    """Return the share of trials that were refused."""
    return sum(one is not None for one in found) / len(found)


def page(measured: list[tuple[str, World, list[int | None]]], runs: int) -> str:
    """Write what was measured as Markdown."""
    answers = PER_LOOK * LOOKS
    lines = [
        f"Measured over {runs:,} simulated trials per row with nothing wrong and {runs // 5:,} per row with a fault, "
        f"each of {answers:,} answers per arm, looked at after every {PER_LOOK} answers ({LOOKS} looks), "
        f"`trial.alpha` {ALPHA:g}; every request has its label at once, and {PER_HOUR} of them are an hour. "
        "`make simulation` writes this again.",
        "",
        "| version on trial is as good as the other | refused, of all trials |",
        "|---|---|",
        *(f"| {world.name} | {share(found):.1%} |" for kind, world, found in measured if kind == "equal"),
        "",
        "| version on trial is worse | refused | answers until then: median | 90 % |",
        "|---|---|---|---|",
        *(_power_row(world, found) for kind, world, found in measured if kind == "worse"),
        "",
        "Share of the trials that are refused after so many answers per arm (each `#` is 5 %):",
        "",
        "```text",
        *(line for kind, world, found in measured if kind == "worse" for line in _chart(world, found)),
        "```",
    ]
    return "\n".join(lines)


def _power_row(world: World, found: list[int | None]) -> str:
    after = sorted(one for one in found if one is not None)
    never = f"over {PER_LOOK * LOOKS:,}"
    places = [int(len(found) * part) for part in (0.5, 0.9)]
    quantiles = [f"{after[place]:,}" if place < len(after) else never for place in places]
    return f"| {world.name} | {share(found):.0%} | {quantiles[0]} | {quantiles[1]} |"


def _chart(world: World, found: list[int | None]) -> Iterator[str]:
    yield world.name
    for answers in (100, 200, 500, 1000, 2000):
        reached = sum(one is not None and one <= answers for one in found) / len(found)
        yield f"  {answers:>6,} {'#' * round(reached * 20):<20} {reached:>4.0%}"


def main() -> int:
    """Measure, write the page, and say whether alpha was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    measured = list(rows(given.runs, given.workers))
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n\n{page(measured, given.runs)}\n\n{END}{tail}", encoding="utf-8")
    broken = [world.name for kind, world, found in measured if kind == "equal" and share(found) > ALPHA]
    print(f"Refused more often than {ALPHA:.0%}: {', '.join(broken) or 'none'}.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
