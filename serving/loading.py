"""A version made ready to answer: probed in a child process, loaded, its features materialised; it swaps nothing."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

from perennial.data.engine import QueryFailed, QueryHindered
from perennial.data.features import FeaturesQueryWrong
from perennial.data.online import OnlineFeatures, OnlineQuery
from perennial.data.queries import QueryLost, load_query
from perennial.errors import Permanent, Transient
from perennial.model.artifact import InvalidModel, Model, load_model
from perennial.model.probe import probe_model
from perennial.records import Answer as Outcome
from perennial.state import State
from perennial.workspace import Workspace
from serving.answers import Question
from serving.queueing import queued_seconds

SEARCH = 0.2
"""Seconds for finding the rows that make a pass fail: others wait meanwhile."""
PASSES = 32
"""As many are made for that in any case, so that on a busy machine no good row of a small batch is lost."""


class VersionRefused(Permanent):
    """A version does not load, or answers its golden questions otherwise than at the training: it is its own fault."""


class NotLoadedYet(Transient):
    """A version could not be tried out here, or not with the rows of now, for which it may not be to blame."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one arm says of one question."""

    score: float | None
    error: str | None
    features: dict[str, Any]
    is_alone: bool = True
    """Whether it was asked alone, if it has no score: else it may be another row of its pass that failed."""


class Pass(NamedTuple):
    """What a version says of some questions, in their order, and how long it took."""

    scored: Sequence[Scored]
    seconds: float
    """Of the first attempt: what a row that fails costs its neighbours afterwards is not the version's slowness."""
    waited: float
    """Of these, without a processor."""


@dataclass(frozen=True)
class Loaded:
    """A version that can answer. One thread at a time scores with it."""

    model: str
    version: int
    fitted: Model
    features: OnlineFeatures
    query: OnlineQuery
    known: int
    """Deliveries that were accepted when its features were made."""
    lock: Lock = field(default_factory=Lock, compare=False, repr=False)

    @property
    def reference(self) -> str:
        return self.features.reference

    def score(self, questions: Sequence[Question]) -> Pass:
        """Score some questions with one features query. Where that fails, the rows to blame are searched for."""
        began, queued = perf_counter(), queued_seconds()
        scored = self._together(questions)
        seconds, waited = perf_counter() - began, queued_seconds() - queued
        if isinstance(scored, str):
            scored = self._apart(questions, scored)
        return Pass(scored, seconds, waited)

    def _apart(self, questions: Sequence[Question], error: str) -> list[Scored]:
        """Halve what fails, the largest part first: what is good is found early, and few bad rows cost few passes."""
        until, passes = perf_counter() + SEARCH, 0
        found: dict[int, Scored] = {}
        failing = deque([(range(len(questions)), error)])
        while failing:
            places, error = failing.popleft()
            if len(places) == 1 or (passes >= PASSES and perf_counter() > until):
                found |= {place: Scored(None, error, {}, is_alone=len(places) == 1) for place in places}
                continue
            middle, passes = len(places) // 2, passes + 2
            for half in (places[:middle], places[middle:]):
                tried = self._together([questions[place] for place in half])
                if isinstance(tried, str):
                    failing.append((half, tried))
                else:
                    found |= dict(zip(half, tried, strict=True))
        return [found[place] for place in range(len(questions))]

    def _together(self, questions: Sequence[Question]) -> list[Scored] | str:
        """Score some questions, or say why that failed."""
        try:
            with self.lock:
                asked = self.query.ask([one.row for one in questions])
                scores = self.fitted.fitted.scores(asked.matrix)
            rows = zip(scores.tolist(), asked.dicts(), strict=True)
            return [_scored(float(score), features) for score, features in rows]
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:300]}"


def _scored(score: float, features: dict[str, Any]) -> Scored:
    if score - score != 0:
        return Scored(None, f"The score is {score}, expected a finite number.", features)
    return Scored(score, None, features)


def load(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
    """Make a version ready: its child process, its bytes and its reference tables at the same time.

    Raises:
        VersionRefused: It failed its golden questions or took the child process down, its artifact or its query is not
            what the training wrote, or the query cannot answer requests or does not give what the model asks for.
        PerennialError: Anything else, such as a store or lake that cannot be read, is not its fault.
    """
    try:
        return _load(ws, state, model, version, as_of)
    except QueryHindered:
        raise
    except (InvalidModel, QueryLost, QueryFailed, FeaturesQueryWrong) as error:
        raise VersionRefused(f"{type(error).__name__}: {error}") from error


def _load(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
    trained = state.training_of(model)
    query = load_query(ws, trained.query) if trained else None
    with ThreadPoolExecutor(2, thread_name_prefix="loading") as pool:
        probed = pool.submit(probe_model, ws.store, model)
        made = pool.submit(_features, ws, as_of, query)
        verdict = probed.result()
        if verdict.answer is not Outcome.PASS:
            raise (VersionRefused if verdict.answer is Outcome.FAIL else NotLoadedYet)(verdict.reasons[0])
        features, fitted = made.result(), load_model(ws.store, model)
    return _ready(model, version, fitted, features, len(state.accepted))


def _features(ws: Workspace, as_of: datetime, query: str | None) -> OnlineFeatures:
    """Make the features; a query that fails is to blame if it does so without any delivery too, else the rows are."""
    try:
        return OnlineFeatures(ws, as_of, query)
    except QueryHindered:
        raise
    except (QueryFailed, FeaturesQueryWrong) as error:
        OnlineFeatures(ws, as_of, query, State()).close()
        raise NotLoadedYet(
            "Its query can answer requests, but the rows of the present deliveries make it fail. Correct the delivery "
            f"that brought such a row, or release a version whose query reads it. {type(error).__name__}: {error}"
        ) from error


def refresh(ws: Workspace, state: State, loaded: Loaded, as_of: datetime) -> Loaded:
    """Return the same version with features that know the present deliveries."""
    features = OnlineFeatures(ws, as_of, loaded.features.query)
    return _ready(loaded.model, loaded.version, loaded.fitted, features, len(state.accepted))


def _ready(model: str, version: int, fitted: Model, features: OnlineFeatures, known: int) -> Loaded:
    try:
        query = features.prepared(fitted.encoder)
    except QueryFailed as error:
        raise VersionRefused(f"Its query does not give what it asks for: {error}") from error
    ready = Loaded(model, version, fitted, features, query, known)
    _ = ready.reference  # kept in the store now, not while somebody waits for an answer
    return ready
