"""What goes in and out of a replica: questions with checked fields, answers with where they came from."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Arm = Literal["champion", "canary", "baseline", "shadow"]


@dataclass(frozen=True, slots=True)
class Question:
    """One row to score; its fields passed the contract of the entity's source."""

    id: str
    """`<request id>/<row>`: the `prediction_id` of what is logged."""
    row: dict[str, Any]
    """Every declared column of the entity's source, absent nullable ones as `None`, timestamps as aware datetimes."""
    key: str
    """The key columns as canonical JSON: what a canary sticks to."""
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """The score of one question, or why there is none, and which version it is from."""

    question: Question
    score: float | None
    error: str | None
    release: int
    """The release that served at that moment, also where a canary answered."""
    version: int
    model: str
    arm: Arm
    rollout: int | None
    features: dict[str, Any]
    """The feature row that was scored, without key and event time."""
    reference: str
    """Digest of what the features were computed from: query and deliveries."""
    seconds: float
    """Time of features and model."""
    of_row: bool = False
    """Another version has no score for it either, so that the row is to blame and not the version."""
    shadow: "Answer | None" = field(default=None, compare=False)
    """What the challenger said of the same row; never shown to the caller."""
