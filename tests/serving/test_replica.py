"""A replica follows the journal: it swaps between two requests, refuses what it cannot load, never goes back."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pytest

from deployments.observability.serving import serving_metrics
from perennial.data.acceptance import accept
from perennial.data.lake import MissingPartition
from perennial.data.landing import receive
from perennial.data.online import Asked, Row
from perennial.digests import digest_bytes
from perennial.model.artifact import Model, load_reference, save_model
from perennial.model.constant import Constant
from perennial.model.encoding import Encoder
from perennial.model.estimators import estimator
from perennial.periods import Period
from perennial.records import Released, ReleaseServed, Trained
from perennial.release.guarding import guard
from perennial.release.health import LOOKS
from perennial.release.reports import write_report
from perennial.state import State
from perennial.storage_trouble import StoreAway
from perennial.workspace import Workspace
from serving import loading
from serving import replica as replica_module
from serving.clock import now
from serving.loading import Loaded, load
from serving.metrics import Metrics
from serving.replica import NotReady, Replica
from tests.builders import features_sql, moment, write_month
from tests.perennial.release.conftest import Shop, with_labels
from tests.perennial.release.trials import judged
from tests.servers import until
from tests.serving.questions import Kept, answered, ask, started

FLIPPED = with_labels(lambda y, x: 1 - y)


def serves(replica: Replica, release: int) -> Callable[[], bool]:
    return lambda: replica.status.release == release


def test_it_is_not_ready_before_a_release_and_answers_after_it(shop: Shop, replica: Replica, log: Kept) -> None:
    assert not replica.is_ready
    with pytest.raises(NotReady, match="no version loaded yet"):
        replica.answer(ask(1))
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    (first, second) = replica.answer(ask(1, 2))
    assert first.score == second.score
    assert 0 < (first.score or 0) < 1
    assert (first.release, first.version, first.arm, first.rollout, first.error) == (1, 1, "champion", None, None)
    assert first.features["shop_size"] == 2.0
    assert log.answers == [], "nobody has them yet"
    replica.given([first, second])
    assert log.answers == [first, second]


def test_the_newest_row_is_told_however_fresh_the_features_are(shop: Shop, replica: Replica, tmp_path: Path) -> None:
    """It is that of the labels, which they read; newer orders, which they do not, hide nothing."""
    may = Period.parse("2024-05")
    folder = shutil.copytree(shop.ws.settings.use_cases, tmp_path / "use_cases")
    ws = Workspace.open("shop-returns", shop.ws.settings.model_copy(update={"use_cases": str(folder)}))
    write_month(ws.use_case.folder, may.label, rows=60, seed=5)
    accept(ws, receive(ws, "orders", may, may.end), may.end)
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    report = replica.report()
    assert report.newest_row_at and report.features_at
    assert moment("2024-04-30") < report.newest_row_at < moment("2024-05-10") < report.features_at
    metrics = Metrics("binary")
    metrics.replica(report, True, 0.0, 0, report.newest_row_at + timedelta(days=20))
    assert "perennial_serving_newest_row_age_seconds 1.728e+06" in metrics.text().decode()
    write_report(shop.ws, report)
    told = {one.name: one.samples[0].value for one in serving_metrics([shop.ws], "test", report.at) if one.samples}
    assert told["perennial_serving_newest_row_timestamp_seconds"] == report.newest_row_at.timestamp()
    assert told["perennial_serving_newest_row_within_seconds"] == timedelta(days=35 + 31).total_seconds()


def test_features_that_rest_on_no_rows_have_no_age(shop: Shop, replica: Replica) -> None:
    metrics = Metrics("binary")
    for newest in (moment("2024-05-07"), None):
        report = replica.report().model_copy(update={"newest_row_at": newest})
        metrics.replica(report, True, 0.0, 0, report.at)
    assert "perennial_serving_newest_row_age_seconds NaN" in metrics.text().decode()
    assert "perennial_serving_newest_row_timestamp_seconds NaN" in metrics.text().decode()


def test_a_new_release_is_swapped_in_and_a_rollback_needs_no_loading(shop: Shop, log: Kept) -> None:
    loads: list[str] = []

    def counting(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
        loads.append(model)
        return load(ws, state, model, version, as_of)

    replica = Replica(shop.ws, log, loader=counting)
    replica.start()
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    before = replica.answer(ask(1))[0].score
    worse = shop.plant(FLIPPED)
    shop.serve(worse)
    until(60, serves(replica, 2))
    assert replica.answer(ask(1))[0].score != before
    shop.serve(shop.trained)
    until(60, serves(replica, 3))
    assert replica.answer(ask(1))[0].score == before
    assert loads == [shop.trained.model, worse.model]
    replica.stop()


def test_a_release_that_does_not_load_is_refused_and_the_old_one_goes_on(shop: Shop, replica: Replica) -> None:
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    broken = shop.plant(FLIPPED)
    shop.ws.store.put(f"models/{broken.model}/model.ubj", b"{L something else }")
    shop.serve(broken)
    until(60, lambda: "release/2" in replica.report().refused)
    assert "model.ubj" in replica.report().refused["release/2"]
    assert replica.answer(ask(1))[0].release == 1


def test_what_could_not_be_loaded_through_something_else_is_not_refused_and_tried_again(shop: Shop, log: Kept) -> None:
    troubles = iter([MissingPartition("The lake lost a file."), StoreAway("No answer.")])

    def unlucky(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
        for trouble in troubles:
            raise trouble
        return load(ws, state, model, version, as_of)

    replica = Replica(shop.ws, log, loader=unlucky)
    shop.serve(shop.trained)
    replica.start()
    until(60, lambda: "MissingPartition" in replica.report().waiting.get("release/1", ""))
    assert replica.report().refused == {}
    until(30, serves(replica, 1))
    assert replica.report().waiting == {} and next(troubles, None) is None
    replica.stop()


def test_a_version_whose_query_does_not_give_what_it_asks_for_is_refused(shop: Shop, replica: Replica) -> None:
    encoder = Encoder(features=("price", "basket"), categories={})
    model = Model(estimator("majority", "binary"), encoder, Constant(0.3))
    questions = pa.table({"price": [1.0, 2.0], "basket": [1.0, 2.0]})
    digest = save_model(shop.ws.store, model, questions, load_reference(shop.ws.store, shop.trained.model))
    planted = shop.trained.model_copy(update={"model": digest, "key": "planted"})
    shop.record(planted)
    shop.serve(shop.register(planted))
    assert "basket" in until(60, lambda: replica.report().refused.get("release/1"))


def asking(shop: Shop, query: str) -> Trained:
    """Register a model of another features query."""
    digest = digest_bytes(query.encode())
    shop.ws.store.put(f"queries/{digest}.sql", query.encode())
    planted = shop.keep(FLIPPED).model_copy(update={"query": digest, "key": "another-query"})
    shop.record(planted)
    return shop.register(planted)


@pytest.mark.parametrize(
    ("price", "why"),
    [("1 + (SELECT count(*) FROM information_schema.tables)", "tables"), ("o.event_time", "must be a number")],
)
def test_a_release_whose_query_cannot_answer_requests_is_refused_and_taken_back(
    shop: Shop, replica: Replica, price: str, why: str
) -> None:
    judged(shop.ws, 1, shop.trained.model)
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    shop.record(ReleaseServed(release=1, answers=50, replicas=("a",)))
    shop.serve(asking(shop, features_sql().replace("o.price", f"{price} AS price")))
    assert why in until(60, lambda: replica.report().refused.get("release/2"))
    assert replica.report().waiting == {}
    at = now()
    for second in range(LOOKS):
        write_report(shop.ws, replica.report().model_copy(update={"at": at + timedelta(seconds=second)}))
        entry = guard(shop.ws, at + timedelta(seconds=second))
    assert entry and isinstance(entry.record, Released) and entry.record.withdraws == 2
    until(60, serves(replica, 3))


@pytest.mark.parametrize(
    ("read", "why"),
    [("CAST(shop AS INTEGER)", "aachen"), ("9_223_372_036_854_775_807 + CAST(size AS BIGINT)", "Overflow")],
)
def test_rows_that_a_query_cannot_read_speak_against_no_version(
    shop: Shop, replica: Replica, read: str, why: str
) -> None:
    sizes = f"WITH sizes AS (SELECT shop, {read} AS size FROM shops)\n"
    shop.serve(asking(shop, sizes + features_sql().replace("JOIN shops", "JOIN sizes")))
    said = until(60, lambda: replica.report().waiting.get("release/1"))
    assert "rows of the present deliveries" in said and why in said
    assert replica.report().refused == {}


def test_a_query_that_memory_is_wanting_for_speaks_against_no_version(shop: Shop, log: Kept) -> None:
    shop.serve(shop.trained)
    settings = shop.ws.settings.model_copy(update={"memory_limit": "100KB"})
    replica = Replica(Workspace(shop.ws.use_case, settings), log)
    replica.start()
    assert "Out of Memory" in until(60, lambda: replica.report().waiting.get("release/1"))
    assert replica.report().refused == {}
    replica.stop()


def test_at_the_start_an_older_release_is_better_than_none(shop: Shop, replica: Replica) -> None:
    broken = shop.plant(FLIPPED)
    shop.ws.store.put(f"models/{broken.model}/model.ubj", b"{L something else }")
    shop.serve(shop.trained)
    shop.serve(broken)
    until(60, lambda: replica.is_ready)
    assert replica.answer(ask(1))[0].release == 1
    assert set(replica.report().refused) == {"release/2"}


def test_a_late_loader_gives_up(shop: Shop, log: Kept) -> None:
    begun, go_on, done = Event(), Event(), Event()

    def slow(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
        loaded = load(ws, state, model, version, as_of)
        if version == 2:
            begun.set()
            go_on.wait(30)
            done.set()
        return loaded

    replica = Replica(shop.ws, log, loader=slow)
    replica.start()
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    shop.serve(shop.plant(FLIPPED))
    assert begun.wait(60)
    shop.serve(shop.trained)
    until(60, serves(replica, 3))
    (zombie,) = [one for place, one in replica._loading.items() if place == (2, 0)]
    go_on.set()
    assert done.wait(20)
    zombie.join(20)
    assert replica.status.release == 3
    replica.stop()


def test_a_canary_answers_its_keys_and_the_champion_those_it_fails(shop: Shop, replica: Replica) -> None:
    shop.serve(shop.trained)
    challenger = shop.plant(FLIPPED)
    shop.record(started(challenger.model, "canary"))
    until(60, lambda: replica.status.rollout == 1)
    answers = answered(replica, ask(*range(200)))
    arms = {arm: [one for one in answers if one.arm == arm] for arm in ("champion", "canary", "baseline")}
    assert all(len(some) > 10 for some in arms.values())
    assert {one.version for one in arms["canary"]} == {2}
    assert {one.version for one in (*arms["champion"], *arms["baseline"])} == {1}
    assert {one.release for one in answers} == {1}
    assert [one.arm for one in answered(replica, ask(*range(200)))] == [one.arm for one in answers]
    counts = replica.report().counts
    assert counts["rollout/1/canary"].answers == 2 * len(arms["canary"])
    assert counts["rollout/1/baseline"].answers == 2 * len(arms["baseline"])


def test_a_shadow_is_logged_beside_the_answer_and_never_given(shop: Shop, replica: Replica, log: Kept) -> None:
    shop.serve(shop.trained)
    challenger = shop.plant(FLIPPED)
    shop.record(started(challenger.model, "shadow"))
    until(60, lambda: replica.status.rollout == 1)
    given = replica.answer(ask(1, 2, 3))
    replica.given(given)
    until(60, lambda: len(log.answers) == 3)
    assert {one.version for one in given} == {1}
    assert all(one.shadow is None for one in given)
    said = [one.shadow for one in log.answers if one.shadow]
    assert [one.version for one in said] == [2, 2, 2]
    assert replica.report().counts["rollout/1/shadow"].compared == 3


def test_a_row_without_features_fails_alone(shop: Shop, replica: Replica) -> None:
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    good, bad = ask(1, 2)
    bad.row["price"] = "no number"
    answers = replica.answer([good, bad])
    assert answers[0].score is not None
    assert answers[1].score is None
    assert answers[1].error
    assert replica.report().counts["release/1"].errors == 1


def test_few_rows_without_features_cost_few_passes(
    shop: Shop, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SEARCH", 60.0)
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    passes: list[int] = []
    champion = replica._lineup.champion  # type: ignore[union-attr]

    class Counting:
        def ask(self, rows: Sequence[Row]) -> Asked:
            passes.append(len(rows))
            return champion.query.ask(rows)

    questions = ask(*range(256))
    questions[100].row["price"] = questions[200].row["price"] = "no number"
    scored = replace(champion, query=Counting()).score(questions).scored  # type: ignore[arg-type]
    assert [place for place, one in enumerate(scored) if one.score is None] == [100, 200]
    assert len(passes) <= 1 + 2 * 2 * 8


def test_the_search_for_bad_rows_ends_and_what_was_not_asked_alone_is_told(
    shop: Shop, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    monkeypatch.setattr(loading, "SEARCH", -1.0)
    monkeypatch.setattr(loading, "PASSES", 0)
    good, bad = ask(1, 2)
    bad.row["price"] = "no number"
    scored = replica._lineup.champion.score([good, bad]).scored  # type: ignore[union-attr]
    assert [(one.score, one.is_alone) for one in scored] == [(None, False), (None, False)]


def test_a_row_that_another_version_has_no_score_for_either_speaks_against_none(shop: Shop, replica: Replica) -> None:
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    shop.serve(shop.plant(FLIPPED))
    until(60, serves(replica, 2))
    questions = ask(1, 2, 3)
    questions[1].row["price"] = "no number"
    answers = replica.answer(questions)
    assert [one.of_row for one in answers] == [False, True, False] and answers[1].score is None
    assert [one.version for one in answers] == [2, 2, 2]
    counts = replica.report().counts["release/2"]
    assert (counts.answers, counts.errors) == (2, 0)


def test_a_row_that_another_version_has_a_score_for_speaks_against_the_one_without(shop: Shop, log: Kept) -> None:
    class Picky:
        def ask(self, rows: Sequence[Row]) -> Asked:
            raise ValueError("It is picky.")

    def loader(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
        loaded = load(ws, state, model, version, as_of)
        return replace(loaded, query=Picky()) if version == 2 else loaded  # type: ignore[arg-type]

    replica = Replica(shop.ws, log, loader=loader)
    replica.start()
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    shop.serve(shop.plant(FLIPPED))
    until(60, serves(replica, 2))
    answers = replica.answer(ask(1, 2, 3))
    assert [(one.version, one.score, one.of_row) for one in answers] == [(2, None, False)] * 3
    counts = replica.report().counts["release/2"]
    assert (counts.answers, counts.errors) == (3, 3)
    shop.record(shop.ws.state().released[0].model_copy(update={"number": 3, "withdraws": 2}))
    until(60, serves(replica, 3))
    assert replica._lineup.previous is None, "what was taken back is asked nothing"  # type: ignore[union-attr]
    replica.stop()


def test_rows_that_a_canary_and_the_champion_have_no_score_for_speak_against_neither(
    shop: Shop, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SEARCH", 60.0)
    shop.serve(shop.trained)
    shop.record(started(shop.plant(FLIPPED).model, "canary"))
    until(60, lambda: replica.status.rollout == 1)
    questions = ask(*range(40))
    for one in questions:
        one.row["price"] = "no number"
    assert all(one.of_row for one in answered(replica, questions))
    assert sum(one.answers + one.errors for one in replica.report().counts.values()) == 0


def test_callers_that_wait_in_vain_are_held_against_the_version_that_is_at_work(shop: Shop, replica: Replica) -> None:
    begun, go_on = Event(), Event()
    shop.serve(shop.trained)
    until(60, serves(replica, 1))
    replica.unanswered(5)
    assert replica.report().counts["release/1"].answers == 0, "nothing was at work"
    lineup = replica._lineup

    class Hanging:
        def ask(self, rows: Sequence[Row]) -> Asked:
            begun.set()
            assert go_on.wait(30)
            return lineup.champion.query.ask(rows)  # type: ignore[union-attr]

    replica._lineup = replace(lineup, champion=replace(lineup.champion, query=Hanging()))  # type: ignore
    asking = Thread(target=replica.answer, args=(ask(1),))
    asking.start()
    assert begun.wait(60)
    replica.unanswered(3)
    counts = replica.report().counts["release/1"]
    assert (counts.answers, counts.errors) == (3, 3)
    go_on.set()
    asking.join()


def test_with_an_unreadable_journal_it_goes_on_and_says_so(
    shop: Shop, replica: Replica, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    shop.ws.store.put(f"journal/shop-returns/{shop.ws.journal.head + 1:09d}.json", b"{}")
    assert "no journal entry" in until(60, lambda: replica.trouble)
    assert replica.answer(ask(1))[0].score is not None
    assert replica.is_ready
    before = replica.followed
    replica.follow_once()
    assert replica.followed > before
    assert capfd.readouterr().err.count("journal.not-followed") == 1


def test_a_thread_that_cannot_be_started_does_not_end_the_following(
    shop: Shop, log: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    replica = Replica(shop.ws, log)
    shop.serve(shop.trained)
    with monkeypatch.context() as crowded:
        crowded.setattr(replica_module, "Thread", Refused)
        replica.follow_once()
    assert replica.trouble == "RuntimeError: can't start new thread"
    replica.follow_once()
    assert replica.trouble is None
    until(60, serves(replica, 1))


def test_a_journal_that_does_not_answer_keeps_the_replica_from_no_end(
    shop: Shop, log: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, answering = Event(), Event()

    def hang() -> State:
        looking.set()
        assert answering.wait(60)
        raise StoreAway("No answer.")

    monkeypatch.setattr(replica_module, "LAST", 0.1)
    monkeypatch.setattr(shop.ws, "state", hang)
    replica = Replica(shop.ws, log)
    replica.start()
    assert looking.wait(60)
    replica.stop()
    assert not answering.is_set()
    answering.set()
