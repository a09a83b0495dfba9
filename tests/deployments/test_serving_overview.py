"""How an online service is told to stand, from what replicas really reported: status, doctor, metrics."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.stack import Service, Stack, serving_name
from cli.serving import service_lines
from deployments.observability.serving import serving_metrics
from deployments.services.doctor import Finding
from deployments.services.errors import NotServed, PortTaken, TokensMissing
from deployments.services.examining_services import checks
from deployments.services.ports import who_listens
from deployments.services.processes import record
from deployments.services.serving_alone import alone
from deployments.services.serving_overview import service_of
from perennial.records import Answer, Released, RolloutStarted
from perennial.release.reports import Report, write_report
from perennial.workspace import Workspace
from tests.builders import make_use_case, moment
from tests.perennial.watch.test_service_findings import COLLECTED, FAILED, LOST, audited
from tests.servers import free_port, listening

NOW = moment("2024-03-01 12:00")
FIRST = Released(number=1, model="0" * 64, version=4, replaces=None, reason="first")
CANARY = RolloutStarted(
    number=1,
    rollout="canary",
    model="1" * 64,
    version=5,
    against_release=1,
    against_version=4,
    steps=(0.05, 0.5),
    deadline=NOW + timedelta(hours=1),
)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return make_use_case(tmp_path, rows=5, changes={"serving": {"rollout": "canary"}})


def tell(ws: Workspace, replica: str, age: float = 1, **fields: Any) -> None:
    at = NOW - timedelta(seconds=age)
    usual: dict[str, Any] = {"release": 1, "version": 4} | fields
    report = Report(replica=replica, address="http://127.0.0.1:8080", started_at=at, at=at, **usual)
    write_report(ws, report)


def release(ws: Workspace, *records: Any) -> None:
    for one in records:
        ws.journal.decide(lambda entries, one=one: one, NOW)  # type: ignore[misc]


def told(ws: Workspace) -> dict[str, Any]:
    found = service_of(ws, NOW)
    assert found is not None
    return found


def examined(ws: Workspace) -> list[Finding]:
    return [one for check in checks(lambda: NOW) for one in check(ws.settings)]


def drawn(ws: Workspace) -> str:
    return "\n".join(f"{name} {text}" for name, text in service_lines(told(ws)))


def numbers(ws: Workspace) -> dict[str, float]:
    found = serving_metrics([ws], "test", NOW)
    return {one.name.removeprefix("perennial_serving_"): one.samples[0].value for one in found if one.samples}


def test_a_use_case_without_serving_has_no_service(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, rows=5)
    assert service_of(ws, NOW) is None
    assert list(service_lines(None)) == examined(ws) == []
    assert numbers(ws) == {}
    with pytest.raises(NotServed, match="serving"):
        alone(ws, None, None, None)


def test_before_the_first_release_it_is_not_ready_and_says_so(ws: Workspace) -> None:
    tell(ws, "a", release=None, version=None)
    assert (told(ws)["replicas"], told(ws)["ready"]) == (1, 0)
    assert "nothing has been released yet" in drawn(ws)
    [found] = examined(ws)
    assert found.state == "skipped"
    assert "nothing has been released yet" in found.summary and "pipeline" in found.remedy


def test_ready_replicas_tell_release_version_lag_and_trial(ws: Workspace) -> None:
    release(ws, FIRST, CANARY)
    tell(ws, "a", rollout=1, answered=100, logged=90, dropped=3)
    tell(ws, "b", rollout=1, answered=50, logged=50)
    found = told(ws)
    assert (found["replicas"], found["ready"], found["log_lag_rows"], found["dropped_rows"]) == (2, 2, 7, 3)
    assert found["answers_by"] == [{"release": 1, "version": 4, "replicas": 2}]
    assert found["trouble"] is None
    assert "2 of 2 replicas ready, release 1 (version 4)" in drawn(ws)
    assert "version 5 as canary on 5% of the requests, step 1 of 2, in 2 replicas" in drawn(ws)
    assert "3 were dropped" in drawn(ws)
    assert numbers(ws) | {"ready_replicas": 2, "rollout_share": 0.05, "log_lag_rows": 7} == numbers(ws)


def test_lost_answers_and_failed_audits_of_the_last_day_are_told(ws: Workspace) -> None:
    tell(ws, "a")
    for at in (NOW - timedelta(days=2), NOW):
        for one in (FAILED, LOST, COLLECTED, audited(Answer.PASS)):
            ws.journal.decide(lambda entries, one=one: one, at)  # type: ignore[misc]
    assert [one["category"] for one in told(ws)["findings"]] == ["training-serving-skew", "answers-lost"]
    assert "2 answers were given and are not in `predictions`" in drawn(ws)
    assert "are others than training computes: age, price" in drawn(ws)
    assert numbers(ws) | {"lost_rows": 2, "audited_rows": 36, "audits_failed": 2} == numbers(ws)


def test_who_stopped_reporting_is_not_there(ws: Workspace) -> None:
    release(ws, FIRST)
    tell(ws, "well")
    tell(ws, "silent", age=60)
    tell(ws, "long ago", age=3600)
    tell(ws, "left", age=60, ended=True)
    assert (told(ws)["replicas"], told(ws)["silent"]) == (1, 1)
    assert "1 fell silent" in drawn(ws)
    assert numbers(ws)["silent_replicas"] == 1


def test_a_refused_release_is_told_with_its_reason(ws: Workspace) -> None:
    release(ws, FIRST, Released(number=2, model="1" * 64, version=5, replaces=4, reason="better"))
    tell(ws, "a", refused={"release/2": "its digest differs"})
    assert "refused release/2: its digest differs" in drawn(ws)
    [found] = examined(ws)
    assert found.state == "problem" and "its digest differs" in found.summary and "rollback" in found.remedy
    assert numbers(ws) | {"refusals": 1, "released_number": 2, "answering_number": 1} == numbers(ws)


def test_a_service_that_ended_is_told_with_who_has_its_port(ws: Workspace) -> None:
    release(ws, FIRST)
    with listening() as port:
        dead = Service(
            name=serving_name("shop-returns"), pid=1, created=0, address=f"http://127.0.0.1:{port}", log="x.log"
        )
        (Path(ws.settings.storage_root) / "run").mkdir(parents=True)
        record(Stack(environment="test", services={dead.name: dead}), ws.settings)
        [found] = examined(ws)
        assert found.state == "problem" and f"port {port}" in found.summary
        assert who_listens(port) in found.summary
    assert "no replica reports" in drawn(ws)


def test_other_machines_need_a_token(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERENNIAL_SERVING_TOKENS", raising=False)
    dev = Workspace(ws.use_case, ws.settings.model_copy(update={"environment": "dev", "serving_host": "0.0.0.0"}))
    with pytest.raises(TokensMissing, match="PERENNIAL_SERVING_TOKENS"):
        alone(dev, None, free_port(), None)
    assert "tokens" in {one.check for one in examined(dev) if one.state == "problem"}
    monkeypatch.setenv("PERENNIAL_SERVING_TOKENS", "a-token")
    launch = alone(dev, None, free_port(), 3)
    assert launch.environment["PERENNIAL_SERVING_TOKENS"] == "a-token"
    assert "a-token" not in " ".join(launch.command) and "a-token" not in repr(launch)
    assert launch.command[-2:] == ("--replicas", "3")


def test_outside_dev_a_token_is_made_and_kept(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERENNIAL_SERVING_TOKENS", raising=False)
    tokens = {alone(ws, "0.0.0.0", free_port(), None).environment["PERENNIAL_SERVING_TOKENS"] for _ in range(2)}
    assert len(tokens) == 1 and len(tokens.pop()) > 30


def test_a_taken_port_names_who_has_it(ws: Workspace) -> None:
    with listening() as port, pytest.raises(PortTaken, match=r"pid \d+"):
        alone(ws, None, port, None)
