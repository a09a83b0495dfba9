"""What the rounds of `make bench-serving` amount to: medians over rounds, ratios within them, a table of 80 columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

FORMS = {
    "single": "one row, 16 connections",
    "batch": "100 rows, 16 connections",
    "alone": "one row, 1 connection",
}
OURS, FLOOR = "Perennial", "floor"


@dataclass(frozen=True)
class Run:
    """What one round measured of one contender in one form."""

    requests: int
    seconds: float
    p50: float
    """Milliseconds."""
    p99: float
    errors: int
    cpu: float
    """Seconds of processor time that all processes of the contender took."""

    @property
    def rate(self) -> float:
        """Requests a second that were answered well."""
        return (self.requests - self.errors) / self.seconds

    @property
    def work(self) -> float:
        """Milliseconds of processor time per request, which a busy machine lengthens less than the rest."""
        return 1e3 * self.cpu / max(1, self.requests)


@dataclass(frozen=True)
class Start:
    """What one contender takes at its start and after the load."""

    seconds: Sequence[float]
    """From the command to the first answer, once per start."""
    worker: float
    """Megabytes of the process that answers: its own and its part of what is shared (PSS)."""
    all: float
    """The same of all its processes."""


_SHOWN = ("rate", "p50", "p99", "work")

Runs = Mapping[tuple[str, str], Sequence[Run]]
"""By contender and form, in the order of the rounds."""


def ratio(runs: Runs, form: str, other: str) -> float:
    """Return how many times the throughput of another contender ours has: the median over the rounds of their pairs."""
    pairs = zip(runs[OURS, form], runs[other, form], strict=True)
    return median(ours.rate / theirs.rate if theirs.rate else float("inf") for ours, theirs in pairs)


def table(runs: Runs, starts: Mapping[str, Start]) -> str:
    """Write all of it as Markdown that is also readable as it is."""
    return "\n".join([*_loads(runs), *_starts(starts)])


def _loads(runs: Runs) -> Iterator[str]:
    for form, told in FORMS.items():
        yield f"| {told:26} | requests/s | p50 ms | p99 ms | CPU ms | ours is |"
        yield "|----------------------------|-----------:|-------:|-------:|-------:|--------:|"
        for name in [name for name, its in runs if its == form]:
            of = runs[name, form]
            rate, p50, p99, work = (median(getattr(one, what) for one in of) for what in _SHOWN)
            times = "" if name == OURS or (OURS, form) not in runs else f"{ratio(runs, form, name):.2f} x"
            yield f"| {name:26} | {rate:10,.0f} | {p50:6.2f} | {p99:6.1f} | {work:6.2f} | {times:>7} |"
            if failed := sum(one.errors for one in of):
                yield f"| {f'  failed: {failed}':26} |            |        |        |        |         |"
        yield ""


def _starts(starts: Mapping[str, Start]) -> Iterator[str]:
    yield "| start and memory           | start to first answer s | worker MB | all MB |"
    yield "|----------------------------|------------------------:|----------:|-------:|"
    for name, one in starts.items():
        seconds = f"{median(one.seconds):.1f} ({min(one.seconds):.1f} to {max(one.seconds):.1f})"
        yield f"| {name:26} | {seconds:>23} | {one.worker:9,.0f} | {one.all:6,.0f} |"
    yield ""
