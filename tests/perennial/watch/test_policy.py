"""When a challenger is trained, as a table, and that every answer gives its reasons."""

from datetime import datetime, timedelta

import pytest

from perennial.periods import Period
from perennial.records import (
    Answer,
    CandidateFit,
    Finding,
    Interval,
    Level,
    Measured,
    Released,
    RetrainingDecided,
    Trained,
    Verdict,
)
from perennial.state import State
from perennial.use_case import Monitoring, Retraining
from perennial.watch.findings import Category
from perennial.watch.policy import decide_retraining, newest_performance
from tests.builders import moment

PERIOD = Period.parse("2024-05")
NOW = moment("2024-06-01")
POLICY = Retraining.model_validate({"max_age": "90d", "cooldown": "25d"})
MONITORING = Monitoring()


def trained(model: str, key: str) -> Trained:
    window = PERIOD
    fit = CandidateFit(name="logistic", estimator="logistic", model=model, parameters={}, metrics={})
    return Trained(
        key=key,
        model=model,
        candidate="logistic",
        baseline="b",
        candidates=(fit,),
        fit=window,
        validation=window,
        holdout=window,
        fit_rows=1,
        validation_rows=1,
        holdout_rows=1,
        snapshots=(),
        features_version=0,
        labels="l",
        spec="s",
        query="q",
        code="c",
        lock="k",
        seed=0,
        audit=Verdict(answer=Answer.PASS, reasons=()),
    )


def serving(trained_at: datetime, other_training: datetime | None = None, refused: datetime | None = None) -> State:
    state = State(trained=[trained("m1", "k1")], trained_at={"k1": trained_at})
    state.released.append(Released(number=1, model="m1", version=1, replaces=None, reason="first"))
    state.released_at[1] = trained_at - timedelta(seconds=1)
    if other_training:
        state.trained.append(trained("m2", "k2"))
        state.trained_at["k2"] = other_training
    if refused:
        state.training_refused_at["k3"] = refused
    return state


def measured(*categories: Category, release: int = 1, value: float | None = 0.70) -> Measured:
    findings = [
        Finding(level=Level.ALERT, category=one, summary=f"{one} is so.", detail="", resolution="")
        for one in categories
    ]
    return Measured(
        period=PERIOD.label,
        release=release,
        version=release,
        rows=1000,
        labels=900,
        performance={"roc_auc": Interval(value=value, rows=900)},
        reference={"roc_auc": Interval(value=0.75, rows=900)},
        drift={"price": 0.12, "gone": None, "score": 0.03},
        findings=tuple(findings),
        report=None,
    )


def decide(state: State, seen: Measured | None, policy: Retraining = POLICY) -> RetrainingDecided:
    return decide_retraining(state, PERIOD, seen, policy, MONITORING, NOW)


def days(count: float) -> datetime:
    return NOW - timedelta(days=count)


def test_nothing_serves_yet_is_reason_enough() -> None:
    decided = decide(State(), None)
    assert (decided.action, decided.reasons, decided.release) == ("retrain", ("Nothing serves yet.",), None)


@pytest.mark.parametrize(
    ("age", "categories", "action"),
    [
        (30, [], "nothing"),
        (30, [Category.PERFORMANCE_DEGRADED], "retrain"),
        (30, [Category.SCORE_DRIFT], "retrain"),
        (30, [Category.FEATURE_DRIFT], "nothing"),
        (30, [Category.CONTRACT_VIOLATIONS, Category.MISSING_COLUMN, Category.LABELS_MISSING], "nothing"),
        (25, [Category.SCORE_DRIFT], "retrain"),
        (24.9, [Category.SCORE_DRIFT], "nothing"),
        (89.9, [], "nothing"),
        (90, [], "retrain"),
    ],
)
def test_a_declared_cause_trains_after_the_cooldown(age: float, categories: list[Category], action: str) -> None:
    decided = decide(serving(days(age)), measured(*categories))
    assert decided.action == action
    assert decided.reasons and decided.release == 1


def test_only_declared_causes_count() -> None:
    features = Retraining.model_validate({"on": ["feature-drift"]})
    assert decide(serving(days(400)), measured(Category.SCORE_DRIFT), features).action == "nothing"
    assert decide(serving(days(30)), measured(Category.FEATURE_DRIFT), features).action == "retrain"


def test_no_declared_cause_never_trains_and_says_so() -> None:
    decided = decide(serving(days(400)), measured(Category.SCORE_DRIFT), Retraining(on=()))
    assert (decided.action, decided.reasons) == ("nothing", ("`retraining.on` declares no cause.",))


def test_a_challenger_that_the_gate_refused_starts_the_cooldown_again() -> None:
    decided = decide(serving(days(100), other_training=days(12)), measured(Category.PERFORMANCE_DEGRADED))
    assert decided.action == "nothing"
    assert decided.reasons[0] == "The last training is 12 days old, `cooldown` is 25d.", "what keeps it is told first"
    assert "performance-degraded is so." in decided.reasons


def test_a_training_that_was_refused_counts_for_the_cooldown() -> None:
    decided = decide(serving(days(100), refused=days(1)), measured(Category.SCORE_DRIFT))
    assert decided.action == "nothing"
    assert "The last training is 1.0 days old, `cooldown` is 25d." in decided.reasons


def test_a_newer_challenger_does_not_make_the_champion_younger() -> None:
    decided = decide(serving(days(100), other_training=days(40)), measured())
    assert (decided.action, decided.reasons) == (
        "retrain",
        ("The champion was trained 100 days ago, `max_age` is 90d.",),
    )


def test_findings_on_a_release_that_serves_no_more_are_no_cause() -> None:
    decided = decide(serving(days(30)), measured(Category.PERFORMANCE_DEGRADED, release=7))
    assert decided.action == "nothing"
    assert "The measurement is of release 7, but release 1 serves now." in decided.reasons


def test_without_a_measurement_only_age_speaks() -> None:
    quiet = decide(serving(days(30)), None)
    assert quiet.action == "nothing" and "Release 1 was not measured in this period." in quiet.reasons
    assert decide(serving(days(91)), None).action == "retrain"


def test_doing_nothing_is_explained_with_numbers() -> None:
    policy = Retraining(on=("performance", "score-drift", "feature-drift", "age"))
    reasons = " ".join(decide(serving(days(30)), measured(), policy).reasons)
    for number in ("0.700", "0.750", "0.03", "0.030", "0.120", "0.2", "30 days", "90d"):
        assert number in reasons
    unknown = " ".join(decide(serving(days(30)), measured(value=None), policy).reasons)
    assert "Performance is unknown: 900 of 1,000 labels are mature and known, 500 are needed." in unknown


def test_a_challenger_is_due_when_the_known_rows_have_grown_since_the_last_training() -> None:
    policy = Retraining.model_validate({"on": ["growth"], "growth": 0.5})
    state = serving(NOW - timedelta(days=30))
    grown = decide_retraining(state, PERIOD, None, policy, MONITORING, NOW, rows=(5, 3))
    same = decide_retraining(state, PERIOD, None, policy, MONITORING, NOW, rows=(4, 3))
    assert grown.action == "retrain"
    assert grown.reasons == ("5 rows are known, at the last training 3 were: +67%, `growth` is +50%.",)
    assert same.action == "nothing"


def test_performance_is_read_from_the_newest_measurement_that_knows_it() -> None:
    late = measured(Category.PERFORMANCE_DEGRADED)
    unknown = measured(value=None)
    found = decide_retraining(serving(days(30)), PERIOD, unknown, POLICY, MONITORING, NOW, matured=late)
    assert found.action == "retrain"
    assert decide(serving(days(30)), unknown).action == "nothing"
    of_another = late.model_copy(update={"release": 9})
    left = decide_retraining(serving(days(30)), PERIOD, unknown, POLICY, MONITORING, NOW, matured=of_another)
    assert left.action == "nothing"
    assert "Performance is unknown" in " ".join(left.reasons)


def test_a_whole_month_that_has_degraded_tells_more_than_the_first_days_of_the_next() -> None:
    [champion] = serving(days(30)).released
    late, whole = measured(Category.PERFORMANCE_DEGRADED), measured()
    first_days = whole.model_copy(update={"performance": {"roc_auc": Interval(value=0.8, rows=200)}})
    assert newest_performance([late, first_days], champion, "roc_auc") == late
    assert newest_performance([late, whole], champion, "roc_auc") == whole
    assert newest_performance([late.model_copy(update={"release": 9}), first_days], champion, "roc_auc") == first_days
    assert newest_performance([measured(value=None)], champion, "roc_auc") is None
