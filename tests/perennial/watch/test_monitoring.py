"""Measuring a real, small workspace: real deliveries, features, model and scores; only the registry is left out."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.csv
import pytest

from perennial.data import lake
from perennial.data.acceptance import accept
from perennial.data.engine import Engine, QueryFailed
from perennial.data.features import build_features
from perennial.data.landing import receive
from perennial.journal import Journal
from perennial.model.training import train
from perennial.periods import Period
from perennial.records import Entry, Level, Measured, Released
from perennial.release.predictions import predict
from perennial.watch import monitoring
from perennial.watch.findings import Category
from perennial.watch.maturity import matured_periods
from perennial.watch.monitoring import NothingServes, measure
from perennial.watch.policy import record_decision
from perennial.watch.report import draw
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, features_sql, make_use_case, moment, write_month
from tests.perennial.release.trials import collect, known_features

APRIL = Period.parse("2024-04")
LATER = moment("2024-05-20")
Copies = Callable[[], Workspace]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of which the first three months are learnt, and whose model serves from April on."""
    folder = tmp_path_factory.mktemp("shop")
    ws = make_use_case(folder, rows=300)
    deliver(ws, *MONTHS[:3])
    at = moment("2024-04-01")
    trained = train(ws, at)
    first = Released(number=1, model=trained.model, version=1, replaces=None, reason="It is the first.")
    ws.journal.append(first, at, ws.journal.head)
    return folder


@pytest.fixture
def copies(serving: Path, tmp_path: Path) -> Copies:
    """Make a copy of the workspace that serves, for a test to change."""

    def copy() -> Workspace:
        target = tmp_path / "copy"
        shutil.copytree(serving, target)
        return Workspace.open("shop-returns", _settings(target))

    return copy


def _settings(folder: Path):  # type: ignore[no-untyped-def]
    from perennial.settings import Settings

    return Settings(
        environment="test",
        storage_root=str(folder / "storage"),
        use_cases=str(folder / "use_cases"),
        threads=1,
        memory_limit="1GB",
    )


@pytest.fixture
def scored(copies: Copies) -> Iterator[Workspace]:
    ws = copies()
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    yield ws


@pytest.fixture(autouse=True)
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of a line, where no test asks for the real one, which takes seconds."""
    monkeypatch.setattr(monitoring, "draw", lambda picture: picture.facts[0])


def categories(measured: Measured) -> set[str]:
    return {one.category for one in measured.findings}


def numbers(ws: Workspace) -> list[dict]:
    partitions = ["2024-04.r1.2024-05-01T000000Z", "2024-04.r1.2024-05-20T000000Z"]
    with Engine(ws.settings) as engine:
        engine.files("numbers", lake.files(ws, "measurements", "measurement", partitions))
        return engine.table("SELECT * FROM numbers ORDER BY as_of, name, subject").to_pylist()


def test_a_period_is_measured_on_mature_labels_and_again_when_more_are_known(scored: Workspace) -> None:
    early = measure(scored, APRIL, APRIL.end)
    assert early.rows == 300 and 150 < early.labels < 300
    assert early.performance["roc_auc"].rows <= early.labels
    assert early.performance["roc_auc"].value and early.reference["roc_auc"].value
    assert set(early.drift) == {"price", "channel", "shop", "shop_size", "known_rate", "score"}
    assert not categories(early) & {Category.PERFORMANCE_DEGRADED, Category.SCORE_DRIFT, Category.LABELS_MISSING}
    late = measure(scored, APRIL, LATER)
    assert late.labels == 300 and scored.state().measured == [early, late]
    rows = numbers(scored)
    assert [one["value"] for one in rows if one["name"] == "labels"] == [early.labels, 300]
    psi = [one["value"] for one in rows if one["name"] == "drift" and one["subject"] == "price"]
    assert psi == [early.drift["price"], late.drift["price"]]


def test_measuring_and_deciding_again_changes_nothing(scored: Workspace) -> None:
    first = (measure(scored, APRIL, APRIL.end), record_decision(scored, APRIL, APRIL.end))
    head, version = scored.journal.head, lake.version(scored, "measurements")
    again = Workspace.open("shop-returns", scored.settings)
    assert (measure(again, APRIL, APRIL.end), record_decision(again, APRIL, APRIL.end)) == first
    assert (again.journal.head, lake.version(again, "measurements")) == (head, version)


def test_one_of_two_that_measure_at_once_is_recorded(scored: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write, others = lake.append, []

    def overtaken(*arguments: Any) -> int:
        if not others:
            others.append(Workspace.open("shop-returns", scored.settings))
            others.append(measure(others[0], APRIL, LATER))
        return write(*arguments)

    monkeypatch.setattr(lake, "append", overtaken)
    assert measure(scored, APRIL, LATER) == others[1]
    assert len(scored.state().measured) == 1


def test_later_labels_are_a_new_question_to_the_policy(scored: Workspace) -> None:
    for at in (APRIL.end, LATER):
        measure(scored, APRIL, at)
        record_decision(scored, APRIL, at)
    ages = [one.reasons[-1] for one in scored.state().decided]
    assert ["30 days" in ages[0], "49 days" in ages[1]] == [True, True]


def test_the_release_that_scored_the_period_newest_is_measured(scored: Workspace) -> None:
    first = scored.state().released[0]
    again = first.model_copy(update={"number": 2, "version": 2, "replaces": 1})
    scored.journal.append(again, APRIL.end, scored.journal.head)
    assert measure(scored, APRIL, APRIL.end).release == 1
    predict(scored, APRIL, LATER)
    measured = measure(scored, APRIL, LATER)
    assert (measured.release, measured.version, measured.rows) == (2, 2, 300)
    later = APRIL.end + timedelta(seconds=1)
    scored.journal.append(measured.model_copy(update={"release": 1}), later, scored.journal.head)
    assert "2 serves now" in " ".join(record_decision(scored, APRIL, later).reasons)


def test_what_was_scored_for_an_earlier_moment_does_not_hide_the_rest_of_the_period(scored: Workspace) -> None:
    assert 0 < predict(scored, APRIL, moment("2024-04-15")).rows < 300
    assert scored.state().predicted[-1].rows < measure(scored, APRIL, LATER).rows == 300


def test_a_release_between_the_decision_and_its_answer_does_not_take_the_answer_away(
    scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(scored, APRIL, LATER)
    append, first = Journal.append, scored.state().released[0]

    def overtaken(journal: Journal, *arguments: Any, **named: Any) -> Entry:
        entry = append(journal, *arguments, **named)
        other = Workspace.open("shop-returns", scored.settings).journal
        other.entries()
        release = first.model_copy(update={"number": 2, "version": 2, "replaces": 1})
        append(other, release, APRIL.end, entry.seq)
        return entry

    monkeypatch.setattr(Journal, "append", overtaken)
    assert record_decision(scored, APRIL, LATER).release == 1


def test_a_quiet_month_is_left_alone_with_reasons(scored: Workspace) -> None:
    measure(scored, APRIL, LATER)
    decided = record_decision(scored, APRIL, LATER)
    assert (decided.action, decided.release) == ("nothing", 1)
    assert "The champion was trained 49 days ago, `max_age` is 90d." in decided.reasons


def test_outcomes_that_have_nothing_to_do_with_the_scores_are_degraded_performance(copies: Copies) -> None:
    ws = copies()
    write_month(ws.use_case.folder, "2024-04", 300, seed=3, shuffled=True)
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    measured = measure(ws, APRIL, LATER)
    assert measured.findings[0].category == Category.PERFORMANCE_DEGRADED
    decided = record_decision(ws, APRIL, LATER)
    assert decided.action == "retrain" and "roc_auc" in decided.reasons[0]


def test_other_prices_are_drift_of_feature_and_score(copies: Copies) -> None:
    ws = copies()
    _change(ws, lambda orders: orders.set_column(2, "price", pc.add(orders["price"], 200.0)))
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    measured = measure(ws, APRIL, APRIL.end)
    drifted = {one.subject for one in measured.findings if "drift" in one.category}
    assert {"price", "score"} <= drifted
    assert (measured.drift["price"] or 0) > 1


def test_a_shop_that_nobody_knew_is_a_new_category_and_its_size_is_missing(copies: Copies) -> None:
    ws = copies()
    _change(ws, lambda orders: orders.set_column(4, "shop", [["essen"] * orders.num_rows]))
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    found = {(one.category, one.subject): one for one in measure(ws, APRIL, APRIL.end).findings}
    assert found["constant-column", "shop_size"].level is Level.ALERT
    assert ("constant-column", "shop") in found


def test_a_feature_that_only_requests_lack_is_found_and_nothing_is_trained_for_it(scored: Workspace) -> None:
    rows = known_features(scored, [*scored.state().features][-1])
    for one in rows:
        one["features"] |= {"known_rate": None}
    collect(scored, "online.other", [{**one, "version": 2} for one in rows], moment("2024-04-02"))
    collect(scored, "online.a", rows[150:], moment("2024-04-20"))
    measured = measure(scored, APRIL, APRIL.end)
    (found,) = [one for one in measured.findings if one.category == Category.ONLINE_FEATURES]
    assert (found.subject, found.level) == ("known_rate", Level.ALERT)
    assert found.summary == "In requests `known_rate` has no value in all 150 rows."
    assert "known_rate" not in record_decision(scored, APRIL, APRIL.end).reasons[0]


def test_what_the_rows_of_the_period_lack_too_is_told_once(copies: Copies) -> None:
    ws = copies()
    _change(ws, lambda orders: orders.set_column(4, "shop", [["essen"] * orders.num_rows]))
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    collect(ws, "online.a", known_features(ws, [*ws.state().features][-1]), moment("2024-04-20"))
    assert Category.ONLINE_FEATURES not in categories(measure(ws, APRIL, APRIL.end))


def test_requests_are_compared_with_the_rows_of_their_own_days(copies: Copies) -> None:
    """Prices rise through the month, which as a whole has the usual ones."""
    ws = copies()
    _change(
        ws, lambda orders: orders.set_column(2, "price", pc.take(orders["price"], pc.sort_indices(orders["price"])))
    )
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    rows = known_features(ws, [*ws.state().features][-1])
    collect(ws, "online.a", rows[200:], moment("2024-04-21"))
    measured = measure(ws, APRIL, APRIL.end)
    assert (measured.drift["price"] or 0) < 0.2
    assert Category.ONLINE_FEATURES not in categories(measured)


def test_before_the_rows_of_a_period_are_delivered_requests_are_compared_with_nothing(copies: Copies) -> None:
    ws = copies()
    rows = known_features(ws, [*ws.state().features][-1])
    for one in rows:
        one["features"] |= {"price": 900.0, "known_rate": None}
    collect(ws, "online.a", rows, moment("2024-04-20"))
    assert categories(measure(ws, APRIL, APRIL.end)) == {Category.NO_PREDICTIONS}


def test_labels_that_never_come_are_missed_and_performance_stays_unknown(copies: Copies) -> None:
    ws = copies()
    accept(ws, receive(ws, "orders", APRIL, APRIL.end), APRIL.end)
    predict(ws, APRIL, APRIL.end)
    late = measure(ws, APRIL, LATER)
    assert (late.labels, late.performance["roc_auc"].value) == (0, None)
    assert Category.LABELS_MISSING in categories(late)
    decided = record_decision(ws, APRIL, LATER)
    assert "Performance is unknown: 0 of 300 labels are mature and known, 50 are needed." in decided.reasons


def test_without_predictions_inputs_and_contracts_are_still_measured(copies: Copies) -> None:
    ws = copies()
    deliver(ws, "2024-04")
    before = measure(ws, APRIL, APRIL.end)
    assert categories(before) == {Category.NO_PREDICTIONS}
    assert (before.rows, before.report, set(before.drift.values())) == (0, None, {None})
    build_features(ws, APRIL, LATER)
    after = measure(ws, APRIL, LATER)
    assert Category.NO_PREDICTIONS in categories(after)
    assert after.drift["price"] is not None and after.drift["score"] is None


def test_a_period_in_which_nothing_happened_is_no_alarm(copies: Copies) -> None:
    ws = copies()
    file = ws.use_case.folder / "use_case.yaml"
    file.write_text(
        file.read_text().replace(
            "    event_time: ordered_at\n", "    event_time: ordered_at\n    volume: {min_rows: 0}\n"
        )
    )
    ws = Workspace.open("shop-returns", ws.settings)
    write_month(ws.use_case.folder, "2024-04", rows=0, seed=0)
    deliver(ws, "2024-04")
    assert predict(ws, APRIL, APRIL.end).rows == 0
    [told] = measure(ws, APRIL, APRIL.end).findings
    assert (told.level, told.category) == (Level.INFO, Category.NO_PREDICTIONS)
    assert matured_periods(ws.state(), ws.use_case, LATER) == ()
    assert predict(ws, APRIL, APRIL.end) == ws.state().predicted[-1]


def test_a_feature_that_the_query_gives_no_more_is_missing_and_not_undrifted(copies: Copies) -> None:
    ws = copies()
    text = features_sql().replace("  s.size AS shop_size,\n", "")
    (ws.use_case.folder / "features.sql").write_text(text)
    ws = Workspace.open("shop-returns", ws.settings)
    deliver(ws, "2024-04")
    with pytest.raises(QueryFailed):
        predict(ws, APRIL, APRIL.end)
    measured = measure(ws, APRIL, APRIL.end)
    assert {Category.MISSING_COLUMN, Category.NO_PREDICTIONS} <= categories(measured)
    assert measured.drift["shop_size"] is None
    assert [one.subject for one in measured.findings if one.category == Category.MISSING_COLUMN] == ["shop_size"]


def test_rows_in_quarantine_are_found(copies: Copies) -> None:
    ws = copies()
    _change(ws, lambda orders: orders.set_column(2, "price", [[-1.0, *orders["price"].to_pylist()[1:]]]))
    deliver(ws, "2024-04")
    predict(ws, APRIL, APRIL.end)
    found = [one for one in measure(ws, APRIL, APRIL.end).findings if one.subject == "orders"]
    assert [one.category for one in found] == [Category.CONTRACT_VIOLATIONS]
    assert "1 of 300 rows" in found[0].summary


def test_nothing_is_measured_before_anything_serves(copies: Copies) -> None:
    ws = copies()
    with pytest.raises(NothingServes, match="no release at 2024-03-01 00:00 UTC"):
        measure(ws, Period.parse("2024-02"), moment("2024-03-01"))
    decided = record_decision(ws, Period.parse("2024-02"), moment("2024-03-01"))
    assert (decided.action, decided.reasons[0]) == ("nothing", "Nothing serves yet.")
    assert "after this moment" in decided.reasons[1]


def test_the_report_shows_features_score_and_label_and_needs_no_network(
    scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "draw", draw)
    measured = measure(scored, APRIL, LATER)
    assert measured.report == "reports/shop-returns/2024-04.r1.2024-05-20T000000Z.html"
    page = scored.store.get(measured.report).decode()
    for column in ("price", "shop", "score", "label"):
        assert f'"column_name": "{column}"' in page
    assert "Orders that come back, 2024-04" in page and "labels pending for 0 of 300" in page
    assert "default-src 'none'" in page


def test_a_period_that_is_measured_again_keeps_the_report_of_before(scored: Workspace) -> None:
    reports = [measure(scored, APRIL, at).report for at in (APRIL.end, LATER)]
    pages = [scored.store.get(str(one)).decode() for one in reports]
    assert "known at 2024-05-01 00:00 UTC" in pages[0] and "known at 2024-05-20 00:00 UTC" in pages[1]


def test_a_report_that_fails_does_not_hide_what_was_measured(
    scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise ValueError("an empty column was provided")

    monkeypatch.setattr(monitoring, "draw", fail)
    measured = measure(scored, APRIL, LATER)
    assert measured.report is None and measured.rows == 300
    assert measured.findings[-1].category == Category.REPORT_FAILED
    assert measured.findings[-1].summary.endswith("could not be drawn. ValueError: an empty column was provided")
    assert "an empty column was provided" in measured.findings[-1].detail


def _change(ws: Workspace, how: Callable[[pyarrow.Table], pyarrow.Table]) -> None:
    file = ws.use_case.folder / "deliveries" / "orders-2024-04.csv"
    orders = pyarrow.csv.read_csv(file)
    pyarrow.csv.write_csv(how(orders), file)
