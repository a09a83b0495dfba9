"""Promotion through real flows on a real server: judged again, and answered by a person, in time or not."""

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from blocks.documents import using
from deployments.definition import read_definition
from flows.promotion import promote
from flows.rollback import rollback
from perennial.model.registry import register
from perennial.model.training import train
from perennial.periods import Period
from perennial.records import Answer, Answered, Judged, Released, Verdict
from perennial.release.judging import judge_challenger
from perennial.release.predictions import predict
from perennial.release.promotion import NotPromotable
from perennial.release.releases import NoWayBack, release
from perennial.settings import Settings
from perennial.workspace import Workspace
from tasks import retelling
from tasks.artifacts import approval_request
from tasks.events import event_id
from tests.builders import MONTHS, deliver, make_use_case, moment, write_month
from tests.faults.alerts import kill_tree
from tests.senders import fresh_senders
from tests.servers import PERENNIAL, Server, running_server, until

pytestmark = pytest.mark.long

MAY, JUNE = moment("2024-05-01"), moment("2024-06-01")
LONG_OUTAGE = 90
"""Seconds that the server may be away; a test waits for a few of the tries that fit in."""
TRIES = 3
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 serves, and there is data for one month more than it has seen."""
    found = make_use_case(tmp_path_factory.mktemp("dev"))
    ws = Workspace(found.use_case, found.settings.model_copy(update={"environment": "dev"}))
    deliver(ws, *MONTHS)
    trained = train(ws, MAY)
    register(ws, trained, MAY)
    release(ws, judge_challenger(ws, trained, MAY), MAY)
    write_month(ws.use_case.folder, "2024-05", 400, seed=50)
    return ws


@pytest.fixture(scope="module")
def stocked(dev: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An environment that has received the same deliveries, and nothing else."""
    root = tmp_path_factory.mktemp("stocked")
    ws = Workspace(dev.use_case, dev.settings.model_copy(update={"environment": "test", "storage_root": str(root)}))
    deliver(ws, *MONTHS, "2024-05")
    return ws


@pytest.fixture(scope="module")
def server(dev: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    variables = {
        "PERENNIAL_ENV": "test",
        "PERENNIAL_DEV_STORAGE_ROOT": dev.settings.storage_root,
        "PERENNIAL_USE_CASES": dev.settings.use_cases,
        **dict.fromkeys(KEYS, "none"),
    }
    home = tmp_path_factory.mktemp("server")
    with running_server(home, **variables) as found, fresh_senders(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERENNIAL_DEV_STORAGE_ROOT", dev.settings.storage_root)
        yield found


@dataclass
class Target:
    """A copy of the stocked environment, in which flows run against the server."""

    ws: Workspace
    server: Server
    results: list[Any] = field(default_factory=list)

    @contextmanager
    def here(self) -> Iterator[None]:
        there = {PREFECT_API_URL: self.server.url, PREFECT_CLIENT_MAX_RETRIES: patience()}
        with temporary_settings({**there, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), using(self.ws.settings):
            yield

    def promote(self) -> Released | Judged | Answered:
        with self.here():
            return promote("shop-returns", "dev", as_of=JUNE)

    @contextmanager
    def promoting(self) -> Iterator[dict[str, Any]]:
        """Promote in a thread, and yield the run once it waits for a person."""
        thread = threading.Thread(target=lambda: self.results.append(self.promote()))
        thread.start()
        yield until(120, self.paused)
        thread.join(60)

    def paused(self) -> dict[str, Any] | None:
        wanted = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
        found = self.server.ask("/flow_runs/filter", wanted)
        return found[0] if found else None

    def state_of(self, run: str) -> str:
        return str(self.server.ask(f"/flow_runs/{run}")["state_type"])


@pytest.fixture
def target(stocked: Workspace, server: Server, tmp_path: Path) -> Target:
    return at(stocked, server, tmp_path, approval="person", approval_timeout=timedelta(minutes=2))


def at(stocked: Workspace, server: Server, folder: Path, **changes: Any) -> Target:
    shutil.copytree(stocked.settings.storage_root, folder / "storage")
    settings: Settings = stocked.settings.model_copy(update={"storage_root": str(folder / "storage"), **changes})
    return Target(Workspace(stocked.use_case, settings), server)


def test_an_approved_model_serves_and_promoting_it_again_changes_nothing(target: Target) -> None:
    with target.promoting() as run:
        assert target.ws.state().champion is None
        [listed] = json.loads(target.server.run(PERENNIAL, "approvals", "--json"))
        assert (listed["run"], listed["use_case"], listed["environment"]) == (run["id"], "shop-returns", "test")
        assert listed["until"] and listed["source"] == "dev"
        assert_asked_as_it_would_be_again(target)
        for little in ("", run["id"][:7]):
            refused = target.server.run(PERENNIAL, "approve", little, "--reason", "x", "--json", expected=1)
            assert f"{len(little)} characters; expected 8 or more" in refused
        told = target.server.run(PERENNIAL, "approve", run["id"][:8], "--reason", "looks good", "--who", "ada")
        assert "approved" in told
    [released] = target.results
    assert isinstance(released, Released) and target.ws.state().champion == released
    [answered] = target.ws.state().answered
    assert (answered.approved, answered.who, answered.reason, answered.run) == (True, "ada", "looks good", run["id"])
    assert target.state_of(run["id"]) == "COMPLETED"
    entries = target.ws.journal.entries()
    assert target.promote() == released
    assert target.ws.journal.entries() == entries


def test_a_question_is_open_and_can_be_answered_after_the_server_was_away(target: Target) -> None:
    assert 0.8 * sum(2**each for each in range(1, patience() + 1)) > LONG_OUTAGE, "seconds that a run asks again"
    with target.promoting() as run:
        with refusals() as refused:
            kill_tree(target.server.children[-1])
            until(60, lambda: any(f"attempt {TRIES}/{patience() + 1}" in one for one in refused))
            target.server.serve()
            target.server.wait()
        [listed] = json.loads(target.server.run(PERENNIAL, "approvals", "--json"))
        assert listed["run"] == run["id"]
        target.server.run(PERENNIAL, "approve", run["id"], "--reason", "still good", "--who", "ada")
    [released] = target.results
    assert isinstance(released, Released) and target.ws.state().champion == released
    assert [(one.approved, one.who) for one in target.ws.state().answered] == [(True, "ada")]
    assert target.state_of(run["id"]) == "COMPLETED"


def patience() -> int:
    """How often the runs of every deployment ask a server again that is away, ever later."""
    [tries] = {
        one["work_pool"]["job_variables"]["env"]["PREFECT_CLIENT_MAX_RETRIES"]
        for one in read_definition("test")["deployments"]
    }
    return int(tries)


@contextmanager
def refusals() -> Iterator[list[str]]:
    """Yield what Prefect's client says of each of its requests that found no server."""
    found: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Another attempt will be made" in record.getMessage():
                found.append(record.getMessage())

    logger, handler = logging.getLogger("prefect.client"), Listening(logging.DEBUG)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_where_a_server_has_the_deployment_the_command_starts_it(server: Server) -> None:
    flow = server.ask("/flows/", {"name": "promote"})
    server.ask("/deployments/", {"name": "test", "flow_id": flow["id"], "entrypoint": "flows.promotion.promote"})
    command = ("promote", "shop-returns", "--from", "dev", "--to", "test", "--version", "1", "--json")
    told = json.loads(server.run(PERENNIAL, *command))
    run = server.ask(f"/flow_runs/{told['run']}")
    assert (told["deployment"], run["state_type"]) == ("promote/test", "SCHEDULED")
    assert run["parameters"] == {"use_case": "shop-returns", "source": "dev", "version": 1, "as_of": None}
    assert json.loads(server.run(PERENNIAL, "approvals", "--json")) == []
    assert "No promotion waits" in server.run(PERENNIAL, "approve", told["run"], "--reason", "x", "--json", expected=1)


def test_the_question_shows_verdict_numbers_and_links(target: Target) -> None:
    with target.promoting() as run:
        key = run["state"]["state_details"]["run_input_keyset"]["description"]
        question = target.server.ask(f"/flow_runs/{run['id']}/input/{key}")
        target.server.run(PERENNIAL, "reject", run["name"], "--reason", "not on a Friday", "--who", "bob")
    assert "May version 1 of shop-returns serve in test?" in question
    assert "✅ PASS" in question and "gain" in question
    assert "Look at its card, metrics and plots first." in question  # without a registry of its own there is no link
    state, served = target.ws.state(), target.ws.settings.model_copy(update={"mlflow_tracking_uri": "http://mlflow"})
    linked = approval_request(state.promoted[state.judged[-1].model], state.judged[-1], served, "shop-returns")
    assert "(http://mlflow/#/models/shop-returns/versions/1)" in linked
    [answered] = target.results
    assert isinstance(answered, Answered) and (answered.approved, answered.who) == (False, "bob")
    assert target.ws.state().champion is None
    assert target.ws.state().answered == [answered]


def test_no_answer_in_time_is_a_no(stocked: Workspace, server: Server, tmp_path: Path) -> None:
    target = at(stocked, server, tmp_path, approval="person", approval_timeout=timedelta(seconds=2))
    answered = target.promote()
    assert isinstance(answered, Answered) and not answered.approved
    assert (answered.who, answered.reason) == ("nobody", "Nobody answered within 2 seconds.")
    assert target.ws.state().answered == [answered] and target.ws.state().champion is None


def test_a_release_that_nobody_is_asked_about_is_withdrawn_by_a_rollback_which_is_told(
    stocked: Workspace, server: Server, tmp_path: Path
) -> None:
    target = at(stocked, server, tmp_path)
    first = target.promote()
    assert isinstance(first, Released)
    with target.here(), pytest.raises(NoWayBack, match="No version of `shop-returns` before 1"):
        rollback("shop-returns", "it is odd", as_of=JUNE)
    predict(target.ws, Period.parse("2024-05"), JUNE)
    serve_something_worse(target.ws)
    with target.here():
        back = rollback("shop-returns", "it is odd", as_of=JUNE)
        assert rollback("shop-returns", "it is odd", as_of=JUNE) == back
    assert (back.version, back.withdraws, back.replaces) == (1, 2, 2)
    wanted = {"filter": {"event": {"name": ["perennial.release.withdrawn"]}, "occurred": {}}}
    [told] = until(30, lambda: server.ask("/events/filter", wanted)["events"])
    assert told["payload"] | {"version": 2, "release": 2, "by": 1, "reason": "it is odd"} == told["payload"]


def assert_asked_as_it_would_be_again(target: Target) -> None:
    """The question that `reconcile` would tell again is, by its id and its words, the one that was told."""
    with SyncPrefectClient(target.server.url) as client:
        [(question, _)] = retelling._of_questions(client, target.ws, datetime.now(UTC))
    identity = str(event_id(target.ws, question.event, question.about))
    wanted = {"filter": {"id": {"id": [identity]}, "occurred": {}}}
    [asked] = until(30, lambda: target.server.ask("/events/filter", wanted)["events"])
    assert asked["payload"] == question.payload


def serve_something_worse(ws: Workspace) -> None:
    promoted = next(iter(ws.state().promoted.values()))
    poor = promoted.trained.model_copy(update={"model": promoted.trained.baseline, "key": "poor"})
    candidates = tuple(one for one in poor.candidates if one.model == poor.model)
    poor = poor.model_copy(update={"candidate": candidates[0].name, "candidates": candidates})
    version = register(ws, poor, JUNE).version
    verdict = Verdict(answer=Answer.PASS, reasons=("by hand",))
    judged = Judged(
        model=poor.model,
        version=version,
        against=promoted.model,
        against_version=1,
        gate=ws.use_case.gate_digest,
        verdict=verdict,
    )
    ws.journal.decide(lambda entries: poor, JUNE)
    ws.journal.decide(lambda entries: judged, JUNE)
    release(ws, judged, JUNE)


def test_a_model_that_is_worse_on_the_data_here_does_not_serve(
    stocked: Workspace, server: Server, tmp_path: Path
) -> None:
    use_cases = tmp_path / "use_cases"
    shutil.copytree(stocked.settings.use_cases, use_cases)
    for month in (*MONTHS, "2024-05"):
        write_month(use_cases / "shop-returns", month, 400, seed=7, shuffled=True)
    settings = stocked.settings.model_copy(
        update={"storage_root": str(tmp_path / "storage"), "use_cases": str(use_cases)}
    )
    target = Target(Workspace.open("shop-returns", settings), server)
    deliver(target.ws, *MONTHS, "2024-05")
    judged = target.promote()
    assert isinstance(judged, Judged) and judged.verdict.answer is not Answer.PASS
    assert target.ws.state().champion is None


def test_a_tampered_artifact_is_refused(dev: Workspace, target: Target) -> None:
    file = Path(dev.store.uri(f"models/{dev.state().trained[0].model}/golden.json"))
    kept = file.read_bytes()
    file.write_bytes(kept.replace(b"0.", b"1."))
    try:
        with pytest.raises(NotPromotable, match="changed after the training"):
            target.promote()
    finally:
        file.write_bytes(kept)
    assert [one.source for one in target.ws.state().promotions_refused] == ["dev"]
