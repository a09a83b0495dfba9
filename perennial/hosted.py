"""What the journal says of the code that a service runs on its cluster, and of newer code on its way there.

A model reaches replicas without any of this: they follow the journal by themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from perennial.values import Answer, Frozen, Verdict

if TYPE_CHECKING:
    from perennial.records import Entry


class HostingStarted(Frozen):
    """An image, with what it is told, began to take the place of the one that runs, at once or by shares."""

    kind: Literal["hosting.started"] = "hosting.started"
    number: int
    """1 for the first of the use case."""
    image: str
    """By digest where a registry gave it one."""
    variables: dict[str, str]
    """What its processes are told; no secret is among them."""
    steps: tuple[float, ...]
    """Shares of the requests before it runs everywhere; none for at once."""
    deadline: datetime
    """What has not shown by then that it does well is taken back."""


class HostingAdvanced(Frozen):
    """What it showed so far allows the next share; after the last one it runs everywhere."""

    kind: Literal["hosting.advanced"] = "hosting.advanced"
    number: int
    step: int
    """Place in `steps` of the share from now on; one more than there are for everywhere."""
    verdict: Verdict


class HostingEnded(Frozen):
    """It runs everywhere and does well (PASS), or was taken back, and the one before runs on."""

    kind: Literal["hosting.ended"] = "hosting.ended"
    number: int
    verdict: Verdict


@dataclass
class Hosting:
    """An image and what became of it."""

    started: HostingStarted
    at: datetime
    step: int = 0
    verdict: Verdict | None = None
    """The last that was recorded."""
    is_open: bool = True

    @property
    def share(self) -> float | None:
        """Of the requests that its own replicas get; `None` once it is meant to run everywhere."""
        return self.started.steps[self.step] if self.step < len(self.started.steps) else None

    def answers_before(self, release: int) -> int:
        """Return how many answers it had given by a release when the present step began: none by one that is newer."""
        numbers = self.verdict.numbers if self.verdict and self.step else {}
        return int(numbers.get("answers") or 0) if numbers.get("release", release) == release else 0


@dataclass
class Hostings:
    """All that ran, or was to run, in journal order."""

    all: dict[int, Hosting] = field(default_factory=dict)
    current: HostingStarted | None = None
    """What runs, as far as it was ever shown to do well."""

    @property
    def trial(self) -> Hosting | None:
        """What is on its way to run."""
        return next((one for one in reversed(self.all.values()) if one.is_open), None)

    @property
    def newest(self) -> int:
        """Number of the newest, 0 before the first."""
        return max(self.all, default=0)

    def refusal(self, image: str, variables: dict[str, str]) -> Verdict | None:
        """Return why the same was taken back the last time, `None` if that was not for what it did."""
        for one in reversed(self.all.values()):
            if (one.started.image, one.started.variables) == (image, variables):
                return one.verdict if not one.is_open and one.verdict and one.verdict.answer is Answer.FAIL else None
        return None


def hostings(entries: "Iterable[Entry]") -> Hostings:
    """Fold what a journal says of images."""
    found = Hostings()
    for entry in entries:
        match entry.record:
            case HostingStarted() as record:
                for other in found.all.values():
                    other.is_open = False
                found.all[record.number] = Hosting(record, entry.at)
            case HostingAdvanced() as record:
                this = found.all[record.number]
                this.step, this.verdict = record.step, record.verdict
            case HostingEnded() as record:
                this = found.all[record.number]
                this.is_open, this.verdict = False, record.verdict
                if record.verdict.answer is Answer.PASS:
                    found.current = this.started
    return found
