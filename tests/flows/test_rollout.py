"""A trial through real flows on a real server: begun by `deploy`, followed to its end, withdrawn, made good."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.documents import using
from flows.deployment import deploy
from flows.rollback import rollback
from flows.rollout import roll_out
from perennial.records import Answer, Judged, Predicted, Released, ReleaseServed, RolloutEnded, RolloutStarted, Verdict
from perennial.release.reports import Counts, Report, write_report
from perennial.workspace import Workspace
from tasks.rollout import guard_release
from tests.flows.test_pipeline import ask_artifacts

SERVING = {"rollout": "canary", "canary": {"steps": [0.1, 0.5]}, "trial": {"min_answers": 50}}


@pytest.fixture
def online(lived: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy that answers online: version 1 serves well, and the gate has passed version 2."""
    shutil.copytree(lived.settings.use_cases, tmp_path / "use_cases")
    shutil.copytree(lived.settings.storage_root, tmp_path / "storage")
    file = tmp_path / "use_cases" / "shop-returns" / "use_case.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "serving": SERVING}, sort_keys=False))
    moved = {"storage_root": str(tmp_path / "storage"), "use_cases": str(tmp_path / "use_cases")}
    settings = lived.settings.model_copy(update=moved)
    with using(settings):
        ws = Workspace.open("shop-returns", settings)
        second = ws.state().judged[-1]
        passed = Judged.model_validate(
            second.model_dump() | {"verdict": Verdict(answer=Answer.PASS, reasons=("by hand",))}
        )
        for one in (ReleaseServed(release=1, answers=99, replicas=("a",)), passed):
            ws.journal.decide(lambda entries, one=one: one, now())  # type: ignore[misc]
        yield ws


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def reporting(ws: Workspace, counts: Callable[[int], dict[str, Counts]]) -> Iterator[None]:
    """Let one replica report what it counted, four times a second, with the number of the report."""
    ended = threading.Event()

    def run() -> None:
        number = 0
        while not ended.is_set():
            report(ws, counts(number))
            number += 1
            ended.wait(0.25)

    report(ws, counts(0))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def report(ws: Workspace, counts: dict[str, Counts]) -> None:
    state, at = Workspace(ws.use_case, ws.settings).state(), now()
    assert state.champion
    write_report(
        ws,
        Report(
            replica="a",
            address="127.0.0.1:1",
            started_at=at,
            at=at,
            head=state.seq,
            release=state.champion.number,
            rollout=state.rollout.started.number if state.rollout else None,
            counts=counts,
        ),
    )


def answers(number: int, errors: float = 0.0) -> dict[str, Counts]:
    some = Counts(answers=40 * number)
    return {
        "rollout/1/baseline": some,
        "rollout/1/canary": some.model_copy(update={"errors": int(40 * number * errors)}),
    }


def told(ws: Workspace) -> list[Any]:
    return list(ask_artifacts("rollout"))


def test_deploy_begins_a_trial_and_waits_for_nothing_and_a_run_follows_it_to_its_release(online: Workspace) -> None:
    with reporting(online, answers):
        started = deploy("shop-returns")
        assert isinstance(started, RolloutStarted) and online.state().champion.number == 1  # type: ignore[union-attr]
        assert deploy("shop-returns", as_of=now()) == started
        released = roll_out("shop-returns")
    assert isinstance(released, Released) and (released.rollout, released.version) == (1, 2)
    kinds = [entry.record.kind for entry in online.journal.entries()[-3:]]
    assert kinds == ["rollout.started", "rollout.advanced", "release.made"]
    shown = told(online)
    assert any("released as release 2" in str(one.data) for one in shown)
    assert any("not yet" in str(one.data) for one in shown), "when it began"
    assert roll_out("shop-returns") is None, "nothing is on trial any more"


def test_a_trial_that_fails_is_taken_back_with_its_evidence(online: Workspace) -> None:
    with reporting(online, lambda number: answers(number, errors=0.5)):
        deploy("shop-returns")
        ended = roll_out("shop-returns")
    assert isinstance(ended, RolloutEnded) and ended.verdict.answer is Answer.FAIL
    assert online.state().champion.number == 1  # type: ignore[union-attr]
    assert any("answers failed" in str(one.data) for one in told(online))


def test_without_replicas_the_version_is_released_at_once(online: Workspace) -> None:
    released = deploy("shop-returns")
    assert isinstance(released, Released) and released.rollout is None


def test_a_rollback_scores_again_what_the_withdrawn_release_wrote(online: Workspace) -> None:
    deploy("shop-returns")
    [predicted] = online.state().predicted
    forged = predicted.model_copy(update={"release": 2, "version": 2})
    assert isinstance(forged, Predicted)
    online.journal.decide(lambda entries: forged, now())
    back = rollback("shop-returns", reason="it is odd")
    assert (back.version, back.withdraws) == (1, 2)
    [corrected] = online.state().corrected
    assert (corrected.withdrawn, corrected.release, corrected.rows) == (2, 3, predicted.rows)
    assert any(f"{predicted.rows:,}" in str(one.data) for one in ask_artifacts("corrections"))


def test_what_a_guard_cannot_do_is_said_and_stops_nothing_else(online: Workspace) -> None:
    report(online, {})
    refused = Report(replica="a", address="", started_at=now(), at=now(), release=1, refused={"release/1": "damaged"})
    write_report(online, refused)
    moments = [refused.at + timedelta(seconds=number) for number in range(3)]
    *before, found = [guard_release.fn(online, at) for at in moments]  # type: ignore[attr-defined]
    assert [one.trouble for one in before] == [None, None], "a look or two show nothing"
    assert found.steps == [] and "Version 1 stays." in found.trouble
