"""A replica without a journal to follow: a real trained model and real online features, to be asked over HTTP."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import NamedTuple

from perennial.data.online import OnlineFeatures
from perennial.model.artifact import load_model
from perennial.release.reports import Report
from perennial.workspace import Workspace
from serving.answers import Answer, Question
from serving.arms import STEADY


class Told(NamedTuple):
    """Settings of the service."""

    environment: str = "test"
    tokens: tuple[str, ...] = ()
    max_body: int = 1_000_000
    rate: float = 0


class SmallReplica:
    """Answers with one model."""

    def __init__(self, ws: Workspace, model: str, as_of: datetime, version: int = 1) -> None:
        self.ws, self.is_ready = ws, True
        self.trouble, self.followed = None, 0.25
        self.model, self.version, self.as_of = model, version, as_of
        loaded = load_model(ws.store, model)
        self._fitted, self._features = loaded.fitted, OnlineFeatures(ws, as_of)
        self._query = self._features.prepared(loaded.encoder)
        self.answered = self.unanswered_rows = 0

    def report(self) -> Report:
        started = datetime(2024, 5, 1, tzinfo=UTC)
        served = {"release": 1, "model": self.model, "version": self.version, "features_at": self.as_of}
        counts = {"answered": self.answered, "logged": 0}
        return Report(replica="small", address="", started_at=started, at=started, **served, **counts)

    def unanswered(self, rows: int, lane: int = STEADY) -> None:
        self.unanswered_rows += rows

    def lane(self, key: str) -> int:
        return STEADY

    def given(self, answers: Sequence[Answer]) -> None:
        self.answered += len(answers)

    def answer(self, questions: Sequence[Question], lane: int = STEADY) -> Sequence[Answer]:
        started = perf_counter()
        asked = self._query.ask([one.row for one in questions])
        scores = self._fitted.scores(asked.matrix).tolist()
        served = {"release": 1, "version": self.version, "model": self.model, "arm": "champion", "rollout": None}
        took = {"reference": "none", "seconds": perf_counter() - started, "error": None}
        features = asked.dicts()
        return [
            Answer(question=one, score=score, features=found, **served, **took)
            for one, score, found in zip(questions, scores, features, strict=True)
        ]
