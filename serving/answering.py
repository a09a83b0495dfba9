"""A batch of questions, each scored by the arm that its key belongs to; a failing canary is the champion's to mend."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Literal

from serving.answers import Answer, Arm, Question
from serving.arms import arm_of
from serving.loading import Loaded, Scored
from serving.queueing import queued_seconds
from serving.reporting import Tally


@dataclass(frozen=True)
class Trial:
    """A version beside the champion."""

    number: int
    kind: Literal["shadow", "canary"]
    share: float
    challenger: Loaded
    baseline: Loaded | None
    """The champion's version, loaded when the challenger was, so that both are of one age."""
    since: datetime


@dataclass(frozen=True)
class Lineup:
    """All that answers at one moment; replaced as a whole."""

    release: int
    champion: Loaded
    since: datetime
    trial: Trial | None = None

    @property
    def loaded(self) -> list[Loaded]:
        return [self.champion] if self.trial is None else [self.trial.challenger, self.champion]

    def by(self, arm: Arm) -> tuple[Loaded, str, datetime]:
        """Return who scores for an arm, the name of its counts, and since when."""
        trial = self.trial
        if trial and arm == "canary":
            return trial.challenger, f"rollout/{trial.number}/canary", trial.since
        if trial and arm == "baseline" and trial.baseline:
            return trial.baseline, f"rollout/{trial.number}/baseline", trial.since
        return self.champion, f"release/{self.release}", self.since


def answer_questions(lineup: Lineup, questions: Sequence[Question], tally: Tally) -> list[Answer]:
    """Score some questions, in their order."""
    places: dict[Arm, list[int]] = {}
    for place, question in enumerate(questions):
        places.setdefault(_arm(lineup, question.key), []).append(place)
    answers: dict[int, Answer] = {}
    again: list[int] = []
    for arm, mine in places.items():
        given = _pass(lineup, arm, [questions[place] for place in mine], tally)
        answers |= dict(zip(mine, given, strict=True))
        if arm == "canary":
            again = [place for place, one in zip(mine, given, strict=True) if one.score is None]
    if again:
        mended = _pass(lineup, "champion", [questions[place] for place in again], tally)
        answers |= dict(zip(again, mended, strict=True))
    return [answers[place] for place in range(len(questions))]


def _arm(lineup: Lineup, key: str) -> Arm:
    trial = lineup.trial
    return arm_of(key, trial.number, trial.share) if trial and trial.kind == "canary" else "champion"


def _pass(lineup: Lineup, arm: Arm, questions: Sequence[Question], tally: Tally) -> list[Answer]:
    loaded, name, since = lineup.by(arm)
    began, queued = perf_counter(), queued_seconds()
    scored = loaded.score(questions)
    seconds, waited = perf_counter() - began, queued_seconds() - queued
    tally.add(name, len(scored), sum(one.score is None for one in scored), seconds, since, waited)
    return [_answer(lineup, arm, loaded, *both, seconds) for both in zip(questions, scored, strict=True)]


def _answer(lineup: Lineup, arm: Arm, loaded: Loaded, question: Question, scored: Scored, seconds: float) -> Answer:
    return Answer(
        question=question,
        score=scored.score,
        error=scored.error,
        release=lineup.release,
        version=loaded.version,
        model=loaded.model,
        arm=arm,
        rollout=lineup.trial.number if lineup.trial else None,
        features=scored.features,
        reference=loaded.reference,
        seconds=seconds,
    )
