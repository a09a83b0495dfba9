"""What the journal amounts to at a moment: a pure fold over its entries, with no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from perennial.records import (
    Accepted,
    Answer,
    Answered,
    AnswersAudited,
    AnswersCollected,
    Entry,
    FeaturesBuilt,
    Judged,
    Measured,
    Predicted,
    PredictionsCorrected,
    ProbationEnded,
    Promoted,
    PromotionRefused,
    Received,
    Refused,
    Registered,
    Released,
    ReleaseServed,
    RetrainingClaimed,
    RetrainingDecided,
    RetrainingEnded,
    RolloutAdvanced,
    RolloutEnded,
    RolloutStarted,
    Trained,
    TrainingRefused,
    Verdict,
)
from perennial.replicas import Report
from perennial.retraining import Request

_BEGINNING = datetime.fromtimestamp(0, UTC)


@dataclass
class Rollout:
    """A version on its way to serve, as shadow or canary."""

    started: RolloutStarted
    at: datetime
    step: int = 0
    verdict: Verdict | None = None
    """The last that was recorded."""
    ended_at: datetime | None = None
    """When it was taken back; `None` also where another release ended it."""
    is_open: bool = True

    @property
    def share(self) -> float:
        """Of the requests that it answers now, or gets copies of."""
        return self.started.steps[self.step]

    @property
    def has_failed(self) -> bool:
        """Whether it was taken back because it was shown to be worse, not for want of evidence."""
        return bool(self.ended_at and self.verdict and self.verdict.answer is Answer.FAIL)


@dataclass
class State:
    """Everything that stages ask about the past, in journal order."""

    seq: int = 0
    newest_at: datetime = _BEGINNING
    """The latest moment of the entries."""
    received: list[Received] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    accepted_at: dict[str, datetime] = field(default_factory=dict)
    """Moment of acceptance by partition."""
    late_from: dict[str, datetime] = field(default_factory=dict)
    """Moment from which its rows of earlier periods count, by partition: not before what was recorded before it, so
    that no computation for an earlier moment is asked again and sees what it did not see then."""
    refused: list[Refused] = field(default_factory=list)
    features: dict[str, FeaturesBuilt] = field(default_factory=dict)
    """By partition."""
    trained: list[Trained] = field(default_factory=list)
    trained_at: dict[str, datetime] = field(default_factory=dict)
    """Moment of training by key."""
    training_refused_at: dict[str, datetime] = field(default_factory=dict)
    """Moment of the newest refusal by key."""
    registered: dict[str, Registered] = field(default_factory=dict)
    """By model digest."""
    judged: list[Judged] = field(default_factory=list)
    released: list[Released] = field(default_factory=list)
    released_at: dict[int, datetime] = field(default_factory=dict)
    """Moment of release by number."""
    predicted: list[Predicted] = field(default_factory=list)
    predicted_at: list[datetime] = field(default_factory=list)
    """Moment of each batch, whose knowledge it was scored with."""
    measured: list[Measured] = field(default_factory=list)
    measured_at: list[datetime] = field(default_factory=list)
    """Moment of each measurement."""
    decided: list[RetrainingDecided] = field(default_factory=list)
    promoted: dict[str, Promoted] = field(default_factory=dict)
    """Models from another environment, by digest, each as it was received last."""
    promotions_refused: list[PromotionRefused] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    verdicts_before: dict[str, int] = field(default_factory=dict)
    """By promoted model, how many verdicts are older than its arrival here, and so not about it."""
    rollouts: dict[int, Rollout] = field(default_factory=dict)
    """By number."""
    served: dict[int, ReleaseServed] = field(default_factory=dict)
    """By release: those that answered in good health."""
    probations: dict[int, ProbationEnded] = field(default_factory=dict)
    """By release."""
    collected: list[AnswersCollected] = field(default_factory=list)
    departed: dict[str, Report] = field(default_factory=dict)
    """The last report of each replica that left, by name."""
    lost: dict[str, int] = field(default_factory=dict)
    """By replica that ended without a farewell, how many of its answers were never logged."""
    audited: list[AnswersAudited] = field(default_factory=list)
    corrected: list[PredictionsCorrected] = field(default_factory=list)
    requests: dict[int, Request] = field(default_factory=dict)
    """Retrainings that were asked for, by the number of the entry that asked."""

    @property
    def champion(self) -> Released | None:
        """The release that answers now; `None` before the first."""
        return self.released[-1] if self.released else None

    @property
    def rollout(self) -> Rollout | None:
        """The version that is on its way to serve now; a release of any other version takes it off."""
        return next((one for one in reversed(self.rollouts.values()) if one.is_open), None)

    def champion_before(self, moment: datetime) -> Released | None:
        """Return the release that answered until a moment, so not one that was made for it."""
        earlier = [one for one in self.released if self.released_at[one.number] < moment]
        return earlier[-1] if earlier else None

    def training_of(self, model: str) -> Trained | None:
        """Return the newest training that kept this model, for a promoted one as this environment judges it."""
        if model in self.promoted:
            return self.promoted[model].trained
        return next((one for one in reversed(self.trained) if one.model == model), None)

    def verdicts_on(self, model: str) -> list[Judged]:
        """Return the verdicts on a model, for a promoted one those since it arrived."""
        return [one for one in self.judged[self.verdicts_before.get(model, 0) :] if one.model == model]

    @property
    def withdrawn(self) -> dict[str, Released]:
        """The rollback that took a model back, by model; not one that was released again since."""
        found: dict[str, Released] = {}
        by_number = {one.number: one for one in self.released}
        for one in self.released:
            found.pop(one.model, None)
            if one.withdraws is not None:
                found[by_number[one.withdraws].model] = one
        return found

    @property
    def predicted_by_moment(self) -> list[Predicted]:
        """The scored batches, the one that knew most last; those of one moment in journal order."""
        return [
            self.predicted[place] for place in sorted(range(len(self.predicted)), key=self.predicted_at.__getitem__)
        ]

    def delivery(self, source: str, period: str) -> Accepted | None:
        """Return the newest accepted revision of a delivery."""
        found = [one for one in self.accepted if one.source == source and one.period == period]
        return found[-1] if found else None


def fold(entries: Iterable[Entry], as_of: datetime | None = None) -> State:
    """Return the state after the entries, or only after those decided up to `as_of`."""
    state = State()
    for entry in entries:
        if as_of is None or entry.at <= as_of:
            _apply(state, entry)
            state.newest_at = max(state.newest_at, entry.at)
    return state


def _apply(state: State, entry: Entry) -> None:  # noqa: C901  one case per kind of record
    state.seq = entry.seq
    match entry.record:
        case Received() | Accepted() | Refused() | FeaturesBuilt() as record:
            _deliver(state, record, entry.at)
        case Trained() as record:
            state.trained.append(record)
            state.trained_at[record.key] = entry.at
            _train_by_hand(state, entry.at)
        case TrainingRefused() as record:
            state.training_refused_at[record.key] = entry.at
            _train_by_hand(state, entry.at)
        case Registered() as record:
            state.registered[record.model] = record
        case Judged() as record:
            state.judged.append(record)
        case Released() as record:
            state.released.append(record)
            state.released_at[record.number] = entry.at
            _close(state.rollouts.values())
        case Predicted() as record:
            state.predicted.append(record)
            state.predicted_at.append(entry.at)
        case Measured() as record:
            state.measured.append(record)
            state.measured_at.append(entry.at)
        case Promoted() | PromotionRefused() | Answered() as record:
            _promote(state, record)
        case RetrainingDecided() | RetrainingClaimed() | RetrainingEnded() as record:
            _retrain(state, record, entry)
        case RolloutStarted() | RolloutAdvanced() | RolloutEnded() as record:
            _roll_out(state, record, entry)
        case AnswersCollected() as record:
            state.collected.append(record)
            state.departed |= record.departed
            state.lost |= record.lost
        case AnswersAudited() as record:
            state.audited.append(record)
        case ReleaseServed() | ProbationEnded() | PredictionsCorrected() as record:
            _serve(state, record)


def _deliver(state: State, record: Received | Accepted | Refused | FeaturesBuilt, at: datetime) -> None:
    match record:
        case Received():
            state.received.append(record)
        case Accepted():
            state.accepted.append(record)
            is_behind = state.newest_at > at
            state.accepted_at[record.partition] = at
            state.late_from[record.partition] = state.newest_at + timedelta(microseconds=1) if is_behind else at
        case Refused():
            state.refused.append(record)
        case FeaturesBuilt():
            state.features[record.partition] = record


def _roll_out(state: State, record: RolloutStarted | RolloutAdvanced | RolloutEnded, entry: Entry) -> None:
    match record:
        case RolloutStarted():
            _close(state.rollouts.values())
            state.rollouts[record.number] = Rollout(record, entry.at)
        case RolloutAdvanced():
            this = state.rollouts[record.number]
            this.step, this.verdict = record.step, record.verdict
        case RolloutEnded():
            this = state.rollouts[record.number]
            this.is_open, this.ended_at, this.verdict = False, entry.at, record.verdict


def _close(rollouts: Iterable[Rollout]) -> None:
    for one in rollouts:
        one.is_open = False


def _serve(state: State, record: ReleaseServed | ProbationEnded | PredictionsCorrected) -> None:
    match record:
        case ReleaseServed():
            state.served[record.release] = record
        case ProbationEnded():
            state.probations[record.release] = record
        case PredictionsCorrected():
            state.corrected.append(record)


def _retrain(state: State, record: RetrainingDecided | RetrainingClaimed | RetrainingEnded, entry: Entry) -> None:
    match record:
        case RetrainingDecided():
            state.decided.append(record)
            if record.action == "retrain":
                state.requests[entry.seq] = Request(entry.seq, entry.at, record)
        case RetrainingClaimed():
            state.requests[record.request].claims.append(record)
            state.requests[record.request].ended = None
        case RetrainingEnded():
            state.requests[record.request].ended = record


def _promote(state: State, record: Promoted | PromotionRefused | Answered) -> None:
    match record:
        case Promoted():
            state.promoted[record.model] = record
            state.trained_at.setdefault(record.trained.key, record.trained_at)
            state.verdicts_before[record.model] = len(state.judged)
        case PromotionRefused():
            state.promotions_refused.append(record)
        case Answered():
            state.answered.append(record)


def _train_by_hand(state: State, at: datetime) -> None:
    for request in state.requests.values():
        if request.at == at and not request.claims:
            request.by_hand = True
