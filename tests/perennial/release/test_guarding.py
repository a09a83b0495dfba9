"""The guard over real journals and reports: every step once, only on evidence, and none after another was first."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from perennial.journal import Journal
from perennial.records import (
    Answer,
    AnswersCollected,
    Entry,
    ProbationEnded,
    Record,
    Released,
    ReleaseServed,
    RolloutAdvanced,
    RolloutEnded,
    RolloutStarted,
    Verdict,
)
from perennial.release import comparing
from perennial.release.answers import collect_answers
from perennial.release.guarding import guard, look, look_at_labels
from perennial.release.releases import NotReleasable, NoWayBack
from perennial.release.reports import Counts, read_reports
from perennial.release.rollout import NobodyAnswers, begin
from perennial.release.rollout_decision import Losses
from perennial.workspace import Workspace
from tests.perennial.release.trials import (
    CANARY,
    NOON,
    a_model,
    after,
    collect,
    judged,
    open_shop,
    record,
    released,
    replicas,
    report_written,
    tried,
)

WELL = Counts(answers=80)
ARMS = {"rollout/1/canary": WELL, "rollout/1/baseline": WELL}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """Version 1 serves in good health."""
    shop = open_shop(tmp_path)
    released(shop, 1)
    record(shop, ReleaseServed(release=1, answers=50, replicas=("a",)))
    return shop


def test_without_news_nothing_is_written(ws: Workspace, tmp_path: Path) -> None:
    head = ws.state().seq
    assert guard(ws, NOON) is None
    replicas(ws, NOON)
    assert guard(ws, after(1)) is None and ws.state().seq == head


def test_a_use_case_that_does_not_answer_online_has_nothing_to_guard(ws: Workspace) -> None:
    offline = Workspace(ws.use_case.model_copy(update={"serving": None}), ws.settings)
    replicas(ws, NOON, refused={"release/1": "damaged"})
    assert guard(offline, NOON) is None


def test_a_canary_goes_up_step_by_step_and_then_serves(ws: Workspace) -> None:
    started = tried(ws, 2)
    assert (started.rollout, started.steps, started.against_release) == ("canary", (0.1, 0.5), 1)
    replicas(ws, after(1), ARMS)
    assert guard(ws, after(1)) is None, "80 answers of 100"
    replicas(ws, after(2), ARMS, ARMS)
    step = guard(ws, after(2))
    assert step and isinstance(step.record, RolloutAdvanced) and step.record.step == 1
    assert step.record.verdict.answer is Answer.PASS and step.record.verdict.numbers["answers"] == 160
    assert guard(ws, after(3)) is None, "answers of the step before do not count"
    more = {"rollout/1/canary": Counts(answers=180), "rollout/1/baseline": WELL}
    replicas(ws, after(4), more, ARMS)
    last = guard(ws, after(4))
    assert last and isinstance(last.record, Released)
    assert (last.record.version, last.record.rollout, last.record.replaces, last.record.withdraws) == (2, 1, 1, None)
    assert "no evidence of its quality" in last.record.reason
    assert "passed its canary" in last.record.reason and "It beats the champion." in last.record.reason
    assert ws.state().rollout is None and guard(ws, after(5)) is None


def test_a_shadow_serves_after_one_step(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, {**CANARY, "rollout": "shadow"})
    released(shop, 1)
    record(shop, ReleaseServed(release=1, answers=50, replicas=("a",)))
    started = tried(shop, 2)
    assert (started.rollout, started.steps) == ("shadow", (1.0,))
    replicas(shop, after(1), {"rollout/1/shadow": Counts(answers=100), "release/1": Counts(answers=100)})
    entry = guard(shop, after(1))
    assert entry and isinstance(entry.record, Released) and entry.record.rollout == 1


def test_a_failing_canary_is_taken_back_and_its_verdict_is_used_up(ws: Workspace) -> None:
    verdict = judged(ws, 2)
    replicas(ws, NOON)
    begin(ws, verdict, NOON, NOON)
    ill = {"rollout/1/canary": Counts(answers=60, errors=40), "rollout/1/baseline": WELL}
    replicas(ws, after(5), ill)
    entry = guard(ws, after(5))
    assert entry and isinstance(entry.record, RolloutEnded) and entry.record.verdict.answer is Answer.FAIL
    assert ws.state().rollout is None and ws.state().champion == ws.state().released[0]
    replicas(ws, after(9))
    assert isinstance(begin(ws, verdict, NOON, after(9)), RolloutStarted), "the same question has its answer"
    with pytest.raises(NotReleasable, match="taken back in rollout 1: 40 of its 60 answers failed"):
        begin(ws, verdict, after(9), after(9))


def test_counts_of_replicas_that_ended_still_count(ws: Workspace) -> None:
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ended=True, names=("old",))
    replicas(ws, after(1), ARMS, names=("new",))
    replicas(ws, after(1), ended=True)
    entry = guard(ws, after(1))
    assert entry and entry.record.kind == "rollout.advanced"


def test_reports_that_are_old_decide_nothing(ws: Workspace) -> None:
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ARMS)
    assert guard(ws, after(60)) is None


def test_a_replica_that_has_not_loaded_it_holds_and_all_that_refuse_end_it(ws: Workspace) -> None:
    replicas(ws, NOON, names=("a", "b", "c"))
    begin(ws, judged(ws, 2), NOON, NOON)
    replicas(ws, after(1), ARMS, ARMS)
    assert guard(ws, after(1)) is None, "`c` follows the journal more slowly"
    replicas(ws, after(2), refused={"rollout/1": "damaged"}, names=("a", "b"))
    assert guard(ws, after(2)) is None
    replicas(ws, after(3), refused={"rollout/1": "damaged"}, names=("a", "b", "c"))
    entry = guard(ws, after(3))
    assert entry and entry.record.verdict.reasons[0] == "No replica takes it on: damaged"  # type: ignore[union-attr]


def test_at_the_deadline_a_trial_without_traffic_ends_undecided_and_may_be_asked_for_again(ws: Workspace) -> None:
    verdict = judged(ws, 2)
    replicas(ws, NOON)
    begin(ws, verdict, NOON, NOON)
    day = 24 * 3600
    assert guard(ws, after(day - 1)) is None
    entry = guard(ws, after(day))
    assert entry and isinstance(entry.record, RolloutEnded)
    assert entry.record.verdict.answer is Answer.INCONCLUSIVE
    assert "deadline" in entry.record.verdict.reasons[0]
    replicas(ws, after(day + 9))
    again = begin(ws, verdict, after(day + 9), after(day + 9))
    assert isinstance(again, RolloutStarted) and again.number == 2


def test_at_the_deadline_even_good_evidence_is_too_late(ws: Workspace) -> None:
    tried(ws, 2)
    replicas(ws, after(24 * 3600), ARMS, ARMS)
    entry = guard(ws, after(24 * 3600))
    assert entry and isinstance(entry.record, RolloutEnded)


def test_a_release_that_answered_in_good_health_has_served(ws: Workspace) -> None:
    released(ws, 2, after(1))
    replicas(ws, after(2), {"release/2": Counts(answers=30)}, {"release/2": Counts(answers=19)})
    assert guard(ws, after(2)) is None
    replicas(ws, after(3), {"release/2": Counts(answers=30)}, {"release/2": Counts(answers=20)})
    entry = guard(ws, after(3))
    assert entry and entry.record == ReleaseServed(release=2, answers=50, replicas=("a", "b"))
    assert guard(ws, after(4)) is None


def refused(ws: Workspace, number: int, why: str, seconds: Iterable[int]) -> Entry | None:
    """Let every replica refuse a release at some looks of the guard, which acts at the last of them."""
    entries = []
    for second in seconds:
        assert not any(entries)
        replicas(ws, after(second), refused={f"release/{number}": why})
        entries.append(guard(ws, after(second)))
    return entries[-1]


def ill(ws: Workspace, number: int, at: float, errors: int) -> None:
    replicas(ws, after(at), {f"release/{number}": Counts(answers=100 + errors, errors=errors)})


def test_a_release_that_fails_is_rolled_back_within_seconds(ws: Workspace) -> None:
    released(ws, 2, NOON)
    entries = []
    for second in range(1, 7):
        ill(ws, 2, second, errors=20 * second)
        entries.append(guard(ws, after(second)))
    found = [(second, one) for second, one in enumerate(entries, 1) if one]
    assert [second for second, _ in found] == [4], "three looks saw it grow"
    back = found[0][1].record
    assert isinstance(back, Released) and (back.version, back.withdraws) == (1, 2)
    assert back.reason.startswith("Health: 80 of 180 answers failed")


def test_it_is_rolled_back_past_a_target_that_is_gone(ws: Workspace) -> None:
    released(ws, 2)
    record(ws, ReleaseServed(release=2, answers=50, replicas=("a",)))
    released(ws, 3, after(1))
    path = Path(ws.store.uri(f"models/{ws.state().released[1].model}/model.json"))
    path.unlink()
    entry = refused(ws, 3, "no such file", range(2, 5))
    assert entry and isinstance(entry.record, Released) and (entry.record.version, entry.record.withdraws) == (1, 3)


def test_without_a_way_back_the_champion_stays_and_it_is_said_once_a_minute(tmp_path: Path) -> None:
    shop = open_shop(tmp_path)
    released(shop, 1)
    released(shop, 2)
    with pytest.raises(NoWayBack, match=r"Version 2 stays\."):
        refused(shop, 2, "damaged", range(1, 4))
    assert guard(shop, after(4)) is None
    replicas(shop, after(64), refused={"release/2": "damaged"})
    with pytest.raises(NoWayBack):
        guard(shop, after(64))
    assert shop.state().champion == shop.state().released[1]


def test_what_was_gone_back_to_is_not_blamed_for_what_it_shares_with_the_next(ws: Workspace) -> None:
    released(ws, 2)
    record(ws, ReleaseServed(release=2, answers=50, replicas=("a",)))
    released(ws, 3)
    back = Released(number=4, model=a_model(ws, 0.02), version=2, replaces=3, reason="Bad.", withdraws=3)
    record(ws, back)
    record(ws, ReleaseServed(release=4, answers=50, replicas=("a",)))
    said = []
    for second in range(1, 90):
        ill(ws, 4, second, errors=20 * second)
        try:
            assert guard(ws, after(second)) is None
        except NoWayBack as error:
            said.append((second, str(error)))
    assert [second for second, _ in said] == [4, 64], "told every minute"
    assert "the cause is another than the version, and it stays" in said[0][1]
    assert "80 of 180 answers failed" in said[0][1]
    assert ws.state().champion == back


def test_what_was_gone_back_to_stays_also_when_no_replica_takes_it_on(ws: Workspace) -> None:
    released(ws, 2)
    record(ws, ReleaseServed(release=2, answers=50, replicas=("a",)))
    entry = refused(ws, 2, "damaged", range(1, 4))
    assert entry and isinstance(entry.record, Released) and entry.record.withdraws == 2
    with pytest.raises(NoWayBack, match="gone back to from release 2"):
        refused(ws, 3, "damaged", range(5, 8))


def test_a_lake_or_a_store_that_is_away_costs_no_version(ws: Workspace) -> None:
    for version in (2, 3, 4):
        released(ws, version)
        record(ws, ReleaseServed(release=version, answers=5000, replicas=("a",)))
    for second in range(1, 30):
        replicas(ws, after(second), waiting={"release/4": "MissingPartition: the lake lost a file of `weather`"})
        assert guard(ws, after(second)) is None
    assert ws.state().champion.number == 4  # type: ignore[union-attr]


def test_recurring_outages_cost_one_version_at_most(ws: Workspace) -> None:
    for version in (2, 3, 4):
        released(ws, version)
        record(ws, ReleaseServed(release=version, answers=5000, replicas=("a",)))
    second = 0
    for _ in range(3):
        number = ws.state().champion.number  # type: ignore[union-attr]
        for phase in (0, 30):
            bad = 0
            for _ in range(12):
                second, bad = second + 1, bad + phase
                counts = Counts(answers=60 * second + bad, errors=bad)
                replicas(ws, after(second), {f"release/{number}": counts})
                with suppress(NoWayBack):
                    guard(ws, after(second))
    assert [one.withdraws for one in ws.state().released] == [None, None, None, None, 4]


def dying(ws: Workspace, names: str, at: float, started: float) -> None:
    replicas(ws, after(at), {}, {}, {}, names=tuple(names), started=after(started))


def test_replicas_that_die_together_do_not_convict_the_model(ws: Workspace) -> None:
    released(ws, 2, NOON)
    dying(ws, "abc", at=5, started=0)
    dying(ws, "de", at=40, started=8)
    assert guard(ws, after(40)) is None, "one machine was started again"


def test_replicas_that_die_again_and_again_convict_the_model(ws: Workspace) -> None:
    released(ws, 2, NOON)
    for round_, names in enumerate(("abc", "def", "ghi")):
        dying(ws, names, at=10 * round_ + 5, started=10 * round_ + 1)
    dying(ws, "jkl", at=40, started=31)
    entry = guard(ws, after(40))
    assert entry and isinstance(entry.record, Released) and entry.record.withdraws == 2
    assert entry.record.reason.startswith("Health: 3 times replicas fell silent")


def test_replicas_that_die_minutes_apart_convict_the_model(ws: Workspace) -> None:
    released(ws, 2, NOON)
    for place, name in enumerate("abc"):
        dying(ws, name, at=60 * place + 5, started=0)
    dying(ws, "d", at=140, started=130)
    entry = guard(ws, after(140))
    assert entry and isinstance(entry.record, Released) and entry.record.withdraws == 2


def test_a_failed_probation_is_rolled_back_also_by_another_guard(ws: Workspace) -> None:
    released(ws, 2)
    failed = Verdict(answer=Answer.FAIL, reasons=("It lost.",))
    record(ws, ProbationEnded(release=2, verdict=failed))
    entry = guard(Workspace(ws.use_case, ws.settings), after(1))
    assert entry and isinstance(entry.record, Released)
    assert (entry.record.version, entry.record.reason) == (1, "Probation: It lost.")


def test_a_rollback_ends_the_trial_against_what_was_withdrawn(ws: Workspace) -> None:
    released(ws, 2)
    tried(ws, 3)
    assert refused(ws, 2, "damaged", range(1, 4)) and ws.state().rollout is None


def test_of_many_guards_at_once_one_writes(ws: Workspace) -> None:
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ARMS)
    views = [Workspace(ws.use_case, ws.settings) for _ in range(6)]
    barrier, entries = threading.Barrier(len(views)), []

    def run(view: Workspace) -> None:
        view.journal.entries()
        barrier.wait()
        entries.append(guard(view, after(1)))

    threads = [threading.Thread(target=run, args=(one,)) for one in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [one for one in entries if one]
    assert len(written) == 1
    assert sum(entry.record.kind == "rollout.advanced" for entry in ws.journal.entries()) == 1


def test_a_release_for_a_moment_ahead_of_this_clock_is_rolled_back_all_the_same(ws: Workspace) -> None:
    released(ws, 2, after(100))
    entry = refused(ws, 2, "damaged", range(1, 4))
    assert entry and isinstance(entry.record, Released) and entry.record.withdraws == 2
    assert entry.at == after(100), "not before what it withdraws"


@pytest.mark.parametrize("skew", [-900, -30, 30, 900])
def test_replicas_whose_clocks_differ_are_there_as_long_as_their_reports_change(ws: Workspace, skew: int) -> None:
    tried(ws, 2)
    entries = []
    for second in range(1, 4):
        replicas(ws, after(second + skew), ARMS, ARMS)
        entries.append(guard(ws, after(second)))
    assert [one.record.kind for one in entries if one] == ["rollout.advanced"]
    assert guard(ws, after(30)) is None, "they fell silent"
    view = look(ws, after(30))
    assert view and view.health().reasons[0] == "No replica has reported just now."


@pytest.mark.parametrize("skew", [-900, 900])
def test_a_trial_that_is_declared_is_not_skipped_because_clocks_differ(ws: Workspace, skew: int) -> None:
    replicas(ws, after(skew))
    for report in read_reports(ws):
        report_written(ws, report, at=NOON)
    assert isinstance(begin(ws, judged(ws, 2), after(5), after(5)), RolloutStarted)
    with pytest.raises(NobodyAnswers):
        begin(ws, judged(ws, 3), after(120), after(120))


@pytest.mark.parametrize(
    ("serving", "seconds", "why"),
    [
        ({"rollout": "direct"}, 0, "declares no trial"),
        (CANARY, 8 * 24 * 3600, "long past"),
        (CANARY, 601, "No replica answers"),
    ],
)
def test_a_version_is_released_at_once_where_nothing_could_try_it(
    tmp_path: Path, serving: dict[str, object], seconds: float, why: str
) -> None:
    from perennial.release.rollout import way_of

    shop = open_shop(tmp_path, serving)
    released(shop, 1)
    verdict = judged(shop, 2)
    replicas(shop, NOON)
    assert why in way_of(shop, shop.state(), NOON, after(seconds)).reason
    made = begin(shop, verdict, NOON, after(seconds))
    assert isinstance(made, Released) and made.rollout is None
    assert begin(shop, verdict, NOON, after(seconds)) == made


def test_the_first_version_needs_no_trial(tmp_path: Path) -> None:
    shop = open_shop(tmp_path)
    replicas(shop, NOON)
    assert isinstance(begin(shop, judged(shop, 1), NOON, NOON), Released)


def test_a_service_that_just_fell_silent_is_waited_for(ws: Workspace) -> None:
    verdict = judged(ws, 2)
    replicas(ws, NOON)
    with pytest.raises(NobodyAnswers, match="fell silent in the last 10 minutes"):
        begin(ws, verdict, NOON, after(60))
    replicas(ws, after(60), ended=True)
    assert isinstance(begin(ws, verdict, NOON, after(61)), Released), "they took their leave"


def test_a_newer_version_takes_the_place_of_one_on_trial(ws: Workspace) -> None:
    tried(ws, 2)
    second = tried(ws, 3, after(1))
    rollout = ws.state().rollout
    assert rollout and rollout.started == second and second.number == 2
    assert begin(ws, ws.state().judged[-1], after(1), after(2)) == second


def test_only_what_passed_the_gate_is_tried(ws: Workspace) -> None:
    verdict = judged(ws, 2)
    refused = verdict.model_copy(update={"verdict": Verdict(answer=Answer.FAIL, reasons=("Worse.",))})
    replicas(ws, NOON)
    with pytest.raises(NotReleasable, match="no such verdict"):
        begin(ws, refused, NOON, NOON)
    Path(ws.store.uri(f"models/{verdict.model}/model.json")).write_text("{}")
    with pytest.raises(NotReleasable, match="cannot serve"):
        begin(ws, verdict, NOON, NOON)


def test_labels_are_looked_at_every_tenth_second(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []
    monkeypatch.setattr(comparing, "compare", lambda ws, what, as_of: looked.append(as_of) or Losses())
    tried(ws, 2)
    for second in range(0, 25, 4):
        assert guard(ws, after(second + 0.5)) is None
    assert looked == [after(0), after(10), after(20)]


def test_labels_are_looked_at_less_often_after_a_while(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []
    monkeypatch.setattr(comparing, "compare", lambda ws, what, as_of: looked.append(as_of) or Losses())
    tried(ws, 2)
    for second in (0, 595, 605, 1190, 1205, 1790):
        guard(ws, after(second))
    assert looked == [after(0), after(590), after(600), after(1200)]


def test_a_guard_that_waits_for_nothing_looks_at_health_while_labels_are_compared(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparing_now, may_end = threading.Event(), threading.Event()

    def compare(ws: Workspace, what: object, as_of: datetime) -> Losses:
        comparing_now.set()
        assert may_end.wait(60)
        return Losses()

    monkeypatch.setattr(comparing, "compare", compare)
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ARMS)
    beside = threading.Thread(target=look_at_labels, args=(ws, after(1)))
    beside.start()
    assert comparing_now.wait(60)
    assert guard(ws, after(1), waits=False) is None, "it goes no further before labels were looked at once"
    ill = {"rollout/1/canary": Counts(answers=60, errors=40), "rollout/1/baseline": WELL}
    replicas(ws, after(2), ill)
    entry = guard(ws, after(2), waits=False)
    assert entry and isinstance(entry.record, RolloutEnded), "and back at any time"
    may_end.set()
    beside.join()


def test_once_labels_were_looked_at_a_guard_that_waits_for_nothing_goes_on(ws: Workspace) -> None:
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ARMS)
    look_at_labels(ws, after(1))
    entry = guard(ws, after(1), waits=False)
    assert entry and isinstance(entry.record, RolloutAdvanced)


def test_what_a_dead_replica_counted_is_not_forgotten_when_its_report_is_cleared_away(ws: Workspace) -> None:
    tried(ws, 2)
    replicas(ws, after(1), ARMS, names=("dead", "a", "b"))
    assert guard(ws, after(1)) is None
    collected = collect_answers(ws, after(70))
    assert collected and collected.departed.keys() == {"a", "b", "dead"}
    assert read_reports(ws) == []
    replicas(ws, after(71), {"rollout/1/canary": Counts(answers=20)})
    for guarding_one in (ws, Workspace(ws.use_case, ws.settings)):
        seen = look(guarding_one, after(71))
        assert seen and seen.trial(seen.state.rollout).numbers["answers"] == 100
    entry = guard(Workspace(ws.use_case, ws.settings), after(71))
    assert entry and isinstance(entry.record, RolloutAdvanced) and entry.record.verdict.numbers["answers"] == 100


def test_a_canary_whose_scores_differ_too_much_from_the_champion_s_is_taken_back(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, {**CANARY, "trial": {"min_answers": 100, "disagreement": 0.1}})
    released(shop, 1)
    record(shop, ReleaseServed(release=1, answers=50, replicas=("a",)))
    replicas(shop, NOON)
    verdict = judged(shop, 2, a_model(shop, 0.4))
    begin(shop, verdict, NOON, NOON)
    replicas(shop, after(5), ARMS)
    assert guard(shop, after(5)) is None
    asked = [{"order_id": f"x-{number}", "features": {"price": 1.0}, "rollout": 1} for number in range(150)]
    collect(shop, "online.1", asked, after(6))
    replicas(shop, after(10), ARMS)
    entry = guard(shop, after(10))
    assert entry and isinstance(entry.record, RolloutEnded) and entry.record.verdict.answer is Answer.FAIL
    assert "scores differ by 0.39 in the mean of 150 requests; 0.1 is allowed" in entry.record.verdict.reasons[0]


def test_a_step_of_the_guard_that_was_not_the_first_is_not_taken(ws: Workspace) -> None:
    """Between its look and its record a guard may pause for long; the journal then refuses what it decided."""
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ARMS)

    class Late(Journal):
        has_paused = False

        def append(self, one: Record, at: datetime, head: int) -> Entry:
            if not self.has_paused:
                self.has_paused = True
                record(ws, ReleaseServed(release=1, answers=1, replicas=()), after(1))
            return super().append(one, at, head)

    late = Workspace(ws.use_case, ws.settings)
    late.__dict__["journal"] = Late(ws.store, "shop-returns")
    assert guard(late, after(1)) is None
    assert ws.state().rollout and ws.state().rollout.step == 0


def test_what_is_collected_while_the_guard_decides_does_not_hold_it_up(ws: Workspace) -> None:
    """A look for a version to go back to takes longer than the collector does between two records."""
    tried(ws, 2)
    replicas(ws, after(1), ARMS, ARMS)
    collected = AnswersCollected(batch="online.x", segments={"a": ((1, 1),)}, rows=1, versions={1: 1}, table_version=1)

    class Busy(Journal):
        def append(self, one: Record, at: datetime, head: int) -> Entry:
            if not ws.state().collected:
                record(ws, collected, after(1))
            return super().append(one, at, head)

    busy = Workspace(ws.use_case, ws.settings)
    busy.__dict__["journal"] = Busy(ws.store, "shop-returns")
    assert guard(busy, after(1)) is not None
    assert ws.state().rollout and ws.state().rollout.step == 1
