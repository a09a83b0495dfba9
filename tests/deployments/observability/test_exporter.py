"""What Prometheus scrapes, from a real server, a real journal and a real endpoint."""

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.images.healthy import is_well
from deployments.observability.exporter import PortTaken, serving
from perennial.records import Finding, Interval, Level, Measured, Released
from perennial.workspace import Workspace
from tests.builders import deliver, make_use_case, moment
from tests.servers import PERENNIAL, Server, running_server, until

pytestmark = pytest.mark.long

FEBRUARY = moment("2024-02-01")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One delivery, one release and one measurement of it; and a use case that is declared wrong beside it."""
    ws = make_use_case(tmp_path_factory.mktemp("shop"), rows=50)
    broken = Path(ws.settings.use_cases) / "broken"
    broken.mkdir()
    (broken / "use_case.yaml").write_text("title: 1")
    deliver(ws, "2024-01")
    finding = Finding(level=Level.ALERT, category="score.drift", summary="s", detail="d", resolution="r")
    records = [
        Released(number=3, model="0" * 64, version=7, replaces=None, reason="better"),
        Measured(
            period="2024-01",
            release=3,
            version=7,
            rows=50,
            labels=40,
            performance={"roc_auc": Interval(value=0.75, rows=40), "log_loss": Interval(value=None, rows=40)},
            reference={"roc_auc": Interval(value=0.8, rows=90)},
            drift={"score": 0.3, "price": None},
            findings=(finding,),
            report=None,
        ),
    ]
    for record in records:
        ws.journal.decide(lambda entries, record=record: record, FEBRUARY)  # type: ignore[misc]
    return ws


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def scraped(ws: Workspace, server: Server | None) -> tuple[str, dict[tuple[str, ...], float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        address = server.url if server else "http://127.0.0.1:9/api"
        settings = ws.settings.model_copy(update={"prefect_api_url": address})
        with serving(settings, now, "127.0.0.1", 0) as port:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return text, {key(one.name, *one.labels.values()): one.value for one in samples}


def key(name: str, *labels: str) -> tuple[str, ...]:
    """Whichever way the labels are sorted."""
    return (f"perennial_{name.removeprefix('perennial_')}", *sorted(labels))


def in_test(server: Server, state: str, minutes: int, deployment: str) -> dict[str, Any]:
    at = (now() - timedelta(minutes=minutes)).isoformat()
    details = {"scheduled_time": at}
    body = {"state": {"type": state, "state_details": details}}
    return dict(server.ask(f"/deployments/{deployment}/create_flow_run", body))


def test_a_scrape_tells_runs_lateness_queues_and_events(ws: Workspace, server: Server) -> None:
    server.ask("/work_pools/", {"name": "perennial-test", "type": "process"})
    ids = {}
    for flow in ("pipeline", "train"):
        made = server.ask("/flows/", {"name": flow})
        about = {
            "name": "test",
            "flow_id": made["id"],
            "tags": ["perennial", "test"],
            "work_pool_name": "perennial-test",
        }
        ids[flow] = server.ask("/deployments/", {**about, "entrypoint": "x:y"})["id"]
    in_test(server, "SCHEDULED", 10, ids["train"])
    run = in_test(server, "SCHEDULED", 0, ids["pipeline"])
    server.ask(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "COMPLETED"}, "force": True})
    labels = {"prefect.resource.id": "perennial.use-case.shop-returns", "perennial.environment": "test"}
    id_ = "01234567-89ab-cdef-0123-456789abcdef"
    event = {"id": id_, "event": "perennial.delivery.accepted", "resource": labels}
    server.ask("/events", [{**event, "occurred": (now() - timedelta(seconds=5)).isoformat()}])
    until(30, lambda: key("perennial_event_lag_seconds", "test") in scraped(ws, server)[1])
    text, found = scraped(ws, server)
    assert found[key("perennial_up", "test")] == 1
    assert found[key("perennial_flow_runs", "train", "test", "scheduled")] == 1
    assert found[key("perennial_flow_runs", "pipeline", "test", "completed")] == 1
    assert found[key("perennial_flow_runs", "pipeline", "test", "scheduled")] == 0
    assert found[key("perennial_flow_runs", "train", "test", "crashed")] == 0
    assert found[key("perennial_event_age_seconds", "test")] < 60
    assert 600 <= found[key("perennial_flow_run_lateness_seconds", "train", "test")] < 900
    assert found[key("perennial_flow_run_lateness_seconds", "pipeline", "test")] == 0
    assert found[key("perennial_queue_depth", "perennial-test", "default")] == 1
    assert found[key("perennial_workers_online", "perennial-test")] == 0
    assert 5 <= found[key("perennial_event_lag_seconds", "test")] < 60
    promtool = shutil.which("promtool")
    if promtool:
        checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_the_automation_lag_is_from_the_event_to_the_firing(ws: Workspace, server: Server) -> None:
    trigger = {"type": "event", "expect": ["perennial.drift.detected"], "posture": "Reactive", "threshold": 1}
    for name in ("each (test)", "each (prod)"):
        server.ask("/automations/", {"name": name, "trigger": trigger, "actions": [{"type": "do-nothing"}]})
    labels = {"prefect.resource.id": "perennial.use-case.shop-returns", "perennial.environment": "test"}
    event = {"event": "perennial.drift.detected", "resource": labels}

    def lag() -> float | None:
        """Tell another event, as the server looks at a new automation only after a moment, and scrape."""
        server.ask("/events", [{**event, "id": str(uuid4()), "occurred": (now() - timedelta(seconds=3)).isoformat()}])
        return scraped(ws, server)[1].get(key("automation_lag_seconds", "test"))

    assert 3 <= until(60, lag) < 60
    elsewhere = ws.settings.model_copy(update={"environment": "dev"})
    assert key("automation_lag_seconds", "dev") not in scraped(Workspace(ws.use_case, elsewhere), server)[1]


def test_without_a_server_the_journals_are_told_all_the_same(ws: Workspace) -> None:
    _, found = scraped(ws, None)
    shop = ("shop-returns", "test")
    assert found[key("perennial_up", "test")] == 0
    assert found[key("perennial_journal_up", *shop)] == 1
    assert found[key("perennial_last_success_timestamp_seconds", *shop, "validation")] == FEBRUARY.timestamp()
    assert found[key("perennial_champion_version", *shop)] == 7
    assert found[key("perennial_release_number", *shop)] == 3
    assert found[key("perennial_quarantined_rows", *shop, "orders")] == 0
    assert found[key("perennial_delivered_rows", *shop, "orders")] == 50
    assert found[key("perennial_labels_known", *shop)] == 40
    assert found[key("perennial_model_score", *shop, "roc_auc")] == 0.75
    assert key("perennial_model_score", *shop, "log_loss") not in found
    assert found[key("perennial_model_score_at_judgement", *shop, "roc_auc")] == 0.8
    assert found[key("perennial_score_drift", *shop)] == 0.3
    assert found[key("perennial_findings", *shop, "alert")] == 1
    assert [one for one in found if "broken" in one] == [key("use_case_up", "broken", "test")]
    assert found[key("use_case_up", "broken", "test")] == 0 and found[key("use_case_up", *shop)] == 1


def test_a_broken_journal_is_a_number_and_hides_no_other(ws: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "storage"
    shutil.copytree(ws.settings.storage_root, root)
    first = root / "journal" / "shop-returns" / "000000001.json"
    first.write_text("{}")
    broken = Workspace(ws.use_case, ws.settings.model_copy(update={"storage_root": str(root)}))
    _, found = scraped(broken, None)
    assert found[key("perennial_journal_up", "shop-returns", "test")] == 0
    assert found[key("perennial_up", "test")] == 0


def test_labels_do_not_grow_with_the_number_of_runs(ws: Workspace, server: Server) -> None:
    before = set(scraped(ws, server)[1])
    for one in server.ask("/deployments/filter", {}):
        in_test(server, "SCHEDULED", 1, one["id"])
        in_test(server, "SCHEDULED", 2, one["id"])
    assert set(scraped(ws, server)[1]) == before


def test_a_port_that_is_taken_is_told(ws: Workspace, server: Server) -> None:
    with pytest.raises(PortTaken, match="Choose another"), serving(ws.settings, now, "127.0.0.1", server.port):
        pass


def test_the_command_answers_on_loopback_until_it_is_ended(ws: Workspace, server: Server) -> None:
    variables = {"PERENNIAL_STORAGE_ROOT": ws.settings.storage_root, "PERENNIAL_USE_CASES": ws.settings.use_cases}
    command = [PERENNIAL, "metrics", "--port", "0"]
    environment = {**server.environment, **variables, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        said = child.stdout.readline()
        address = said.partition("at ")[2].partition(";")[0]
        text = urllib.request.urlopen(address, timeout=60).read().decode()
        child.terminate()
        assert child.wait(30) == 0
    assert said.startswith("Metrics of dev at http://127.0.0.1:")
    assert 'perennial_up{environment="dev"} 1.0' in text


def test_a_container_is_well_while_the_endpoint_answers(ws: Workspace) -> None:
    """By the address of compose.yaml, which answers though Prefect is away."""
    with serving(
        ws.settings.model_copy(update={"prefect_api_url": "http://127.0.0.1:9/api"}), now, "127.0.0.1", 0
    ) as port:
        assert is_well(f"http://127.0.0.1:{port}/favicon.ico")
    assert not is_well(f"http://127.0.0.1:{port}/favicon.ico")
