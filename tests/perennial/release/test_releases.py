"""Releases and rollbacks: only what the gate passed and what loads, once, and one of many that race."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.model.artifact import Model, save_model
from perennial.model.constant import Constant
from perennial.model.encoding import Encoder
from perennial.model.estimators import estimator
from perennial.records import Answer, Judged, Predicted, Released, ReleaseServed, Verdict
from perennial.release.releases import NotReleasable, NoWayBack, StaleVerdict, last_good, release, rollback
from perennial.watch.claims import in_the_way
from perennial.watch.drift import NumericBins, Reference
from perennial.workspace import Workspace
from tests.builders import make_use_case

RELEASER = """
import sys
from datetime import datetime
from perennial.errors import PerennialError
from perennial.release.releases import release
from perennial.settings import Settings
from perennial.workspace import Workspace

settings, version = Settings.model_validate_json(sys.argv[1]), int(sys.argv[2])
ws = Workspace.open("shop-returns", settings)
judged = next(one for one in ws.state().judged if one.version == version)
print("ready", flush=True)
sys.stdin.readline()
try:
    print(release(ws, judged, datetime.fromisoformat(sys.argv[3])).number)
except PerennialError as error:
    print(type(error).__name__)
"""


def day(number: int) -> datetime:
    return datetime(2024, 5, number, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return make_use_case(tmp_path, months=())


def a_model(ws: Workspace, value: float) -> str:
    """Save a model that gives every row the same score."""
    kind = estimator("majority", "binary")
    model = Model(kind, Encoder(features=("price",), categories={}), Constant(value))
    nothing = NumericBins(edges=(), counts=(1,), missing=0)
    return save_model(ws.store, model, pa.table({"price": [1.0, 2.0]}), Reference(features={}, score=nothing, rows=1))


def judged(
    ws: Workspace,
    version: int,
    against: Released | None = None,
    answer: Answer = Answer.PASS,
    model: str | None = None,
) -> Judged:
    """Record a verdict on a version whose scores are a hundredth of its number."""
    record = Judged(
        model=model or a_model(ws, version / 100),
        version=version,
        against=against.model if against else "baseline",
        against_version=against.version if against else None,
        gate=ws.use_case.gate_digest,
        verdict=Verdict(answer=answer, reasons=("It was compared.", "In detail.")),
    )
    ws.journal.decide(lambda entries: record, day(1))
    return record


def released(ws: Workspace, version: int, at: int, against: Released | None = None, *, wrote: bool = True) -> Released:
    """Record a passed verdict, its release, without asking whether the model loads, and that it wrote predictions."""
    verdict = judged(ws, version, against)
    record = Released(
        number=len(ws.state().released) + 1,
        model=verdict.model,
        version=version,
        replaces=verdict.against_version,
        reason="It was compared.",
    )
    ws.journal.decide(lambda entries: record, day(at))
    if wrote:
        write(ws, record, at)
    return record


def write(ws: Workspace, one: Released, at: int, rows: int = 1) -> None:
    """Record that a release scored a period."""
    record = Predicted(
        period="2024-04",
        release=one.number,
        model=one.model,
        version=one.version,
        snapshot="2024-04.x",
        rows=rows,
        table_version=1,
    )
    ws.journal.decide(lambda entries: record, day(at))


def spoil(ws: Workspace, one: Released) -> None:
    """Change the artifact of a released model by one byte."""
    file = Path(ws.store.uri(f"models/{one.model}/model.json"))
    file.write_text(file.read_text().replace("0.", "1."))


def test_a_passed_version_becomes_champion_with_its_reason(ws: Workspace) -> None:
    first = release(ws, judged(ws, 1), day(2))
    assert (first.number, first.version, first.replaces, first.withdraws) == (1, 1, None, None)
    assert first.reason == "It was compared."
    assert ws.state().champion == first and ws.state().released_at == {1: day(2)}
    second = release(ws, judged(ws, 2, against=first), day(3))
    assert (second.number, second.replaces) == (2, 1)
    assert ws.state().champion == second


def test_releasing_again_changes_nothing(ws: Workspace) -> None:
    verdict = judged(ws, 1)
    first = release(ws, verdict, day(2))
    second = released(ws, 2, at=3, against=first)
    head = ws.state().seq
    assert release(ws, verdict, day(2)) == first
    assert release(ws, verdict, day(9)) == first
    assert ws.state().seq == head and ws.state().champion == second


@pytest.mark.parametrize("answer", [Answer.FAIL, Answer.INCONCLUSIVE])
def test_only_a_pass_is_released(ws: Workspace, answer: Answer) -> None:
    with pytest.raises(NotReleasable, match=f"The gate said {answer} to version 1 .* It was compared. In detail"):
        release(ws, judged(ws, 1, answer=answer), day(2))
    assert ws.state().released == []


def test_a_pass_without_any_reason_is_not_released(ws: Workspace) -> None:
    bare = judged(ws, 1).model_copy(update={"verdict": Verdict(answer=Answer.PASS, reasons=())})
    ws.journal.decide(lambda entries: bare, day(1))
    with pytest.raises(NotReleasable):
        release(ws, bare, day(2))


def test_a_verdict_that_the_journal_does_not_know_is_not_released(ws: Workspace) -> None:
    refused = judged(ws, 1, answer=Answer.FAIL)
    forged = refused.model_copy(update={"verdict": Verdict(answer=Answer.PASS, reasons=("Trust me.",))})
    with pytest.raises(NotReleasable, match="no such verdict on version 1"):
        release(ws, forged, day(2))


def test_a_model_that_does_not_load_is_not_released(ws: Workspace) -> None:
    verdict = judged(ws, 1)
    Path(ws.store.uri(f"models/{verdict.model}/model.json")).write_text("{}")
    with pytest.raises(NotReleasable, match="Version 1 of `shop-returns` passed the gate but cannot serve"):
        release(ws, verdict, day(2))
    assert ws.state().released == []


def test_a_verdict_about_a_former_champion_is_stale(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    late = judged(ws, 3, against=first)
    second = released(ws, 2, at=3, against=first)
    with pytest.raises(
        StaleVerdict, match=r"version 1, but now version 2 serves\. .*`perennial register shop-returns`"
    ):
        release(ws, late, day(4))
    assert ws.state().champion == second


def test_a_verdict_against_the_baseline_is_stale_once_there_is_a_champion(ws: Workspace) -> None:
    late = judged(ws, 2)
    released(ws, 1, at=2)
    with pytest.raises(StaleVerdict, match="was judged against the baseline, but now version 1 serves"):
        release(ws, late, day(3))


def test_the_past_is_not_released_over_the_present(ws: Workspace) -> None:
    first = released(ws, 1, at=20)
    with pytest.raises(StaleVerdict, match=r"Release 1 .* was made for 2024-05-20 00:00, after 2024-05-10 00:00"):
        release(ws, judged(ws, 2, against=first), day(10))


def race(ws: Workspace, *versions: int) -> list[str]:
    arguments = [[ws.settings.model_dump_json(), str(version), day(9).isoformat()] for version in versions]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RELEASER, *one], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for one in arguments
    ]
    assert all(process.stdout is not None and process.stdout.readline() == "ready\n" for process in running)
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0].strip() for process in running]


def test_of_two_processes_that_release_at_once_one_wins(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    judged(ws, 2, against=first)
    judged(ws, 3, against=first)
    answers = race(ws, 2, 3)
    assert sorted(answers) == ["2", "StaleVerdict"]
    assert [one.version for one in ws.state().released] == [1, (2, 3)[answers.index("2")]]


def test_two_processes_that_release_the_same_make_one_release(ws: Workspace) -> None:
    judged(ws, 1)
    assert race(ws, 1, 1) == ["1", "1"]
    assert len(ws.state().released) == 1


def test_rollback_releases_the_last_good_version_again(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first)
    back = rollback(ws, "The score has drifted.", day(4))
    assert (back.number, back.model, back.version, back.replaces) == (3, first.model, 1, 2)
    assert back.withdraws == second.number and back.reason == "The score has drifted."
    assert release(ws, ws.state().judged[-1], day(5)) == second, "its verdict is used up"
    assert ws.state().champion == back


def test_a_release_and_its_rollback_name_the_image_that_is_meant_to_answer(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    pinned = Workspace(ws.use_case, ws.settings.model_copy(update={"serving_image": "sha256:0a1b"}))
    second = release(pinned, judged(ws, 2, first), day(3))
    back = rollback(pinned, "Bad.", day(4))
    assert (first.image, second.image, back.image) == (None, "sha256:0a1b", "sha256:0a1b")
    before_images_were_recorded = first.model_dump(mode="json", exclude={"image"})
    assert Released.model_validate(before_images_were_recorded) == first


def test_rolling_back_again_for_the_same_reason_and_moment_changes_nothing(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first)
    released(ws, 3, at=4, against=second)
    back = rollback(ws, "Bad.", day(5))
    assert rollback(ws, "Bad.", day(5)) == back and back.version == 2
    assert len(ws.state().released) == 4
    further = rollback(ws, "Bad.", day(6))
    assert (further.version, further.withdraws) == (1, 4)


def test_rollback_passes_over_what_was_withdrawn_before(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first)
    released(ws, 3, at=4, against=second)
    assert rollback(ws, "Bad.", day(5)).version == 2
    assert rollback(ws, "Bad too.", day(6)).version == 1


def test_rollback_tries_earlier_versions_until_one_loads(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first)
    released(ws, 3, at=4, against=second)
    spoil(ws, second)
    back = rollback(ws, "Bad.", day(5))
    assert (back.version, back.replaces, back.withdraws) == (1, 3, 3)


def test_rollback_without_anything_to_go_back_to_leaves_the_champion(ws: Workspace) -> None:
    with pytest.raises(NoWayBack, match="Nothing of `shop-returns` is released yet"):
        rollback(ws, "Bad.", day(1))
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first)
    spoil(ws, first)
    with pytest.raises(NoWayBack, match=r"Version 2 stays\. Version 1: "):
        rollback(ws, "Bad.", day(4))
    assert ws.state().champion == second


def test_rollback_goes_only_to_what_passed_the_gate(ws: Workspace) -> None:
    forced = Released(number=1, model=a_model(ws, 0.5), version=1, replaces=None, reason="by hand")
    ws.journal.decide(lambda entries: forced, day(2))
    write(ws, forced, 2)
    released(ws, 2, at=3, against=forced)
    with pytest.raises(NoWayBack):
        rollback(ws, "Bad.", day(4))


def test_rollback_never_goes_to_what_did_not_serve(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first, wrote=False)
    write(ws, second, at=3, rows=0)
    released(ws, 3, at=4, against=second)
    back = rollback(ws, "Bad.", day(5))
    assert (back.version, back.withdraws) == (1, 3)


def test_where_nothing_served_the_champion_stays(ws: Workspace) -> None:
    first = released(ws, 1, at=2, wrote=False)
    second = released(ws, 2, at=3, against=first)
    with pytest.raises(NoWayBack, match="before 2 passed the gate, has written predictions, still loads"):
        rollback(ws, "Bad.", day(4))
    assert ws.state().champion == second


@pytest.fixture
def online(tmp_path: Path) -> Workspace:
    """Its releases 1 to 3 wrote predictions."""
    ws = make_use_case(tmp_path, months=(), changes={"serving": {"rollout": "direct"}})
    first = released(ws, 1, at=2)
    second = released(ws, 2, at=3, against=first)
    released(ws, 3, at=4, against=second)
    return ws


def test_once_one_answered_online_only_good_health_is_evidence_of_service(online: Workspace) -> None:
    online.journal.decide(lambda entries: ReleaseServed(release=1, answers=99, replicas=("a",)), day(5))
    assert rollback(online, "Bad.", day(5)).version == 1


def test_before_any_answered_online_predictions_are_evidence_of_service(online: Workspace) -> None:
    assert rollback(online, "Bad.", day(5)).version == 2


def test_what_wrote_predictions_before_the_service_came_can_be_gone_back_to(online: Workspace) -> None:
    online.journal.decide(lambda entries: ReleaseServed(release=3, answers=99, replicas=("a",)), day(5))
    assert rollback(online, "Bad.", day(5)).version == 2


def test_the_guard_goes_back_to_nothing_that_never_answered_online(online: Workspace) -> None:
    with pytest.raises(NoWayBack, match="answered in good health, still loads"):
        last_good(online, online.state())
    online.journal.decide(lambda entries: ReleaseServed(release=1, answers=99, replicas=("a",)), day(5))
    assert last_good(online, online.state()).version == 1


def test_online_what_neither_answered_nor_wrote_is_not_gone_back_to(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, months=(), changes={"serving": {"rollout": "direct"}})
    first = released(ws, 1, at=2, wrote=False)
    released(ws, 2, at=3, against=first)
    with pytest.raises(NoWayBack, match="answered in good health, or wrote predictions before any did"):
        rollback(ws, "Bad.", day(4))


def test_one_released_for_a_later_moment_by_mistake_is_withdrawn_and_then_in_nobodys_way(ws: Workspace) -> None:
    first = released(ws, 1, at=2)
    released(ws, 2, at=20, against=first)
    assert in_the_way(ws.state(), day(11), timedelta(0)) is not None
    back = rollback(ws, "Bad.", day(10))
    assert (back.version, back.withdraws) == (1, 2)
    assert in_the_way(ws.state(), day(11), timedelta(0)) is None
    assert release(ws, judged(ws, 3, back), day(11)).version == 3
