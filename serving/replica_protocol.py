"""What the HTTP service needs of a replica and of its settings; it implements neither."""

from collections.abc import Sequence
from typing import Protocol

from perennial.release.reports import Report
from perennial.workspace import Workspace
from serving.answers import Answer, Question
from serving.arms import STEADY


class AnsweringReplica(Protocol):
    """What answers. All but `answer` is called on the event loop, so that it must return at once."""

    ws: Workspace

    @property
    def is_ready(self) -> bool:
        """Whether a version and its online features are loaded."""

    @property
    def trouble(self) -> str | None:
        """Why it cannot follow the journal or make its features anew now; `None` if it can."""

    @property
    def followed(self) -> float:
        """Seconds since it last followed the journal."""

    def report(self) -> Report:
        """Return what it says of itself now."""

    def lane(self, key: str) -> int:
        """Return the lane of a key: questions of different lanes never wait for each other."""

    def answer(self, questions: Sequence[Question], lane: int = STEADY) -> Sequence[Answer]:
        """Score one batch of a lane, one answer per question in order; called in the scoring thread of that lane."""

    def given(self, answers: Sequence[Answer]) -> None:
        """Log the answers of a request, which its caller gets."""

    def unanswered(self, rows: int, lane: int = STEADY) -> None:
        """Hear that callers got no answer in time, or an exception instead of one."""


class HttpSettings(Protocol):
    """What the HTTP service reads of its settings."""

    @property
    def environment(self) -> str:
        """`prod` has no documentation routes."""

    @property
    def tokens(self) -> Sequence[str]:
        """Bearer tokens, of which every request must carry one; none where only this machine can ask."""

    @property
    def max_body(self) -> int:
        """Bytes."""

    @property
    def rate(self) -> float:
        """Requests a second of one caller at this replica, 0 for no limit."""
