"""What a replica follows and what it says of itself, as plain values; it loads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from perennial.records import Released
from perennial.state import Rollout, State
from serving.answers import Answer


class Log(Protocol):
    """Where answers go once they are given."""

    answered: int
    logged: int
    dropped: int

    def expect(self, answers: Sequence[Answer]) -> None: ...

    def put(self, answers: Sequence[Answer], *, are_expected: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Status:
    """What a replica can say of itself at once."""

    head: int
    release: int | None
    model: str | None
    version: int | None
    rollout: int | None
    refused: dict[str, str]
    waiting: dict[str, str]
    features_at: datetime | None
    newest_row_at: datetime | None


@dataclass(frozen=True)
class Target:
    """What the journal asks for: a release, and perhaps a rollout beside it."""

    head: int
    released: Released
    rollout: Rollout | None
    state: State

    @property
    def place(self) -> tuple[int, int]:
        return (self.released.number, self.rollout.started.number if self.rollout else 0)


def rollout_of(state: State) -> Rollout | None:
    """The open rollout against the release that answers."""
    rollout, champion = state.rollout, state.champion
    return rollout if rollout and champion and rollout.started.against_release == champion.number else None
