"""A batch of questions of one lane, each scored by the arm of its key; a failing canary is the champion's to mend.

A row without a score is asked of another version that is loaded: only where that has one it speaks against the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from serving.answers import Answer, Arm, Question
from serving.arms import STEADY, arm_of
from serving.loading import Loaded, Scored
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
    previous: Loaded | None = None
    """What served well before and is still loaded."""

    def arm(self, key: str) -> Arm:
        """Return who answers a key."""
        trial = self.trial
        return arm_of(key, trial.number, trial.share) if trial and trial.kind == "canary" else "champion"

    def lane(self, key: str) -> int:
        """Return where the questions of a key wait: a canary's not with the others, whom it could hold up."""
        return self.trial.number if self.trial and self.arm(key) == "canary" else STEADY

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

    def beside(self, arm: Arm) -> Loaded | None:
        """Return another version that can be asked what an arm has no score for, at once."""
        trial = self.trial
        if trial and arm == "canary":
            return self.champion
        is_idle = trial is not None and trial.kind == "canary" and not trial.challenger.lock.locked()
        return self.previous or (trial.challenger if trial and is_idle else None)


def answer_questions(lineup: Lineup, questions: Sequence[Question], tally: Tally, lane: int) -> list[Answer]:
    """Score some questions, in their order.

    Args:
        lineup: Who answers.
        questions: Those that wait in the lane. The lineup may be another than when they came: then the champion
            answers those of a canary, which never scores in the lane of the others.
        tally: Counts.
        lane: See `Lineup.lane`.
    """
    places: dict[Arm, list[int]] = {}
    for place, question in enumerate(questions):
        arm = lineup.arm(question.key)
        is_elsewhere = arm == "canary" and lane != lineup.lane(question.key)
        places.setdefault("champion" if is_elsewhere else arm, []).append(place)
    answers: dict[int, Answer] = {}
    for arm, mine in places.items():
        given = _answered(lineup, arm, [questions[place] for place in mine], tally, lane)
        answers |= dict(zip(mine, given, strict=True))
    tally.idle(lane)
    return [answers[place] for place in range(len(questions))]


def _answered(lineup: Lineup, arm: Arm, questions: Sequence[Question], tally: Tally, lane: int) -> list[Answer]:
    loaded, name, since = lineup.by(arm)
    tally.running(lane, name, since)
    scored, seconds, waited = loaded.score(questions)
    given = [_answer(lineup, arm, loaded, *both, seconds) for both in zip(questions, scored, strict=True)]
    failed = [place for place, one in enumerate(scored) if one.score is None]
    again = _asked_beside(lineup, arm, [questions[place] for place in failed], tally) if failed else []
    excused = sum(one.score is None for one in again)
    tally.add(name, len(scored) - excused, len(failed) - excused, seconds, since, waited)
    for place, one in zip(failed, again, strict=False):
        if one.score is None:
            given[place] = replace(given[place], of_row=scored[place].is_alone and one.of_row)
        elif arm == "canary":
            given[place] = one
    return given


def _asked_beside(lineup: Lineup, arm: Arm, questions: Sequence[Question], tally: Tally) -> list[Answer]:
    """Ask another version, of which only the answers that replace those of a canary count."""
    other = lineup.beside(arm)
    if other is None:
        return []
    scored, seconds, waited = other.score(questions)
    if arm == "canary":
        _, name, since = lineup.by("champion")
        tally.add(name, sum(one.score is not None for one in scored), 0, seconds, since, waited)
    return [
        replace(_answer(lineup, "champion", other, question, one, seconds), of_row=one.score is None and one.is_alone)
        for question, one in zip(questions, scored, strict=True)
    ]


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
