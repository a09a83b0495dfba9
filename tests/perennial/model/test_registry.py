"""One version per model in a real MLflow store, whatever was lost, and aliases that follow the journal."""

import http.server
import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import sqlalchemy
from mlflow.protos.databricks_pb2 import REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE

from perennial.errors import Permanent, Transient
from perennial.model import registry
from perennial.model.artifact import InvalidModel, load_golden, load_model
from perennial.model.mlflow_client import NoRegistry, RegistryRefused, RegistryUnavailable, registry_client, shown_uri
from perennial.model.registry import project_aliases, register, tracking_uri
from perennial.model.training import train
from perennial.records import Answer, Judged, Released, Trained, Verdict
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, make_use_case, moment

AS_OF = moment("2024-05-15")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained model and an MLflow store that has tables and nothing else."""
    folder = tmp_path_factory.mktemp("template")
    ws = make_use_case(folder, rows=300)
    deliver(ws, *MONTHS)
    train(ws, AS_OF)
    with registry_client(opened(folder, str(folder / "empty")).settings):
        return folder


def opened(folder: Path, storage: str | None = None, **changes: Any) -> Workspace:
    settings = Settings(
        environment="test",
        storage_root=storage or str(folder / "storage"),
        use_cases=str(folder / "use_cases"),
        threads=2,
        memory_limit="1GB",
        **changes,
    )
    return Workspace.open("shop-returns", settings)


@pytest.fixture
def ws(template: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "empty" / "mlflow", tmp_path / "storage" / "mlflow")
    return opened(tmp_path)


@pytest.fixture
def client(ws: Workspace) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri(ws.settings), tracking_uri(ws.settings))


def trained(ws: Workspace, candidate: str | None = None) -> Trained:
    """Return the training, or one as if it had kept another candidate."""
    found = ws.state().trained[-1]
    fit = next(one for one in found.candidates if one.name == (candidate or found.candidate))
    return found.model_copy(update={"candidate": fit.name, "model": fit.model, "key": f"{found.key}/{fit.name}"})


def forget(ws: Workspace) -> Workspace:
    """Take the registration out of the journal, as if its writer had died before."""
    entry = ws.journal.entries()[-1]
    assert entry.record.kind == "model.registered"
    Path(ws.store.uri(f"journal/shop-returns/{entry.seq:09d}.json")).unlink()
    return Workspace.open("shop-returns", ws.settings)


def runs(client: mlflow.MlflowClient) -> dict[str, str]:
    """Return name and status of all runs that there are."""
    experiment = client.get_experiment_by_name("shop-returns")
    found = client.search_runs([experiment.experiment_id])
    assert len({one.info.run_name for one in found}) == len(found)
    return {one.info.run_name: one.info.status for one in found}


def versions(client: mlflow.MlflowClient) -> list[int]:
    return sorted(int(one.version) for one in client.search_model_versions("name = 'shop-returns'"))


def judge(ws: Workspace, version: int, model: str, answer: Answer) -> None:
    verdict = Verdict(answer=answer, reasons=(f"It is {answer}.", "So it goes."))
    record = Judged(model=model, version=version, against="b", against_version=None, verdict=verdict)
    ws.journal.append(record, AS_OF, head=len(ws.journal.entries()))


def release(ws: Workspace, version: int, model: str) -> None:
    number = len(ws.state().released) + 1
    record = Released(number=number, model=model, version=version, replaces=None, reason="better")
    ws.journal.append(record, AS_OF, head=len(ws.journal.entries()))


def test_a_version_has_all_that_people_look_for(ws: Workspace, client: mlflow.MlflowClient) -> None:
    one = trained(ws)
    registered = register(ws, one, AS_OF)
    assert registered == ws.state().registered[one.model]
    assert (registered.model, registered.version) == (one.model, 1)

    version = client.get_model_version("shop-returns", "1")
    assert version.tags["perennial.model"] == one.model
    assert version.tags["perennial.spec"] == one.spec
    assert one.candidate in version.description

    run = client.get_run(registered.run)
    kept = next(fit for fit in one.candidates if fit.name == one.candidate)
    assert run.info.start_time == run.info.end_time == int(AS_OF.timestamp() * 1000)
    assert run.data.metrics["roc_auc"] == kept.metrics["roc_auc"].value
    assert run.data.metrics["roc_auc.low"] == kept.metrics["roc_auc"].low
    assert run.data.params["candidate"] == one.candidate
    assert run.data.params["holdout.rows"] == str(one.holdout_rows)
    source = json.loads(run.inputs.dataset_inputs[0].dataset.source)
    assert (source["path"], source["delta_table_version"]) == (ws.table("features"), one.features_version)
    assert {file.path for file in client.list_artifacts(registered.run)} == {
        "calibration.png", "importance.png", "model-card.md", "precision-recall.png", "roc.png", "slices.csv",
        "trained.json",
    }  # fmt: skip
    assert set(runs(client)) == {run.info.run_name, *(fit.name for fit in one.candidates)}
    assert set(runs(client).values()) == {"FINISHED"}


def test_mlflow_loads_the_champion_and_gives_the_same_scores(ws: Workspace, client: mlflow.MlflowClient) -> None:
    one = trained(ws)
    registered = register(ws, one, AS_OF)
    release(ws, registered.version, one.model)
    project_aliases(ws)
    mlflow.set_tracking_uri(tracking_uri(ws.settings))
    model = mlflow.pyfunc.load_model("models:/shop-returns@champion")
    golden, encoder = load_golden(ws.store, one.model), load_model(ws.store, one.model).encoder
    assert model.predict(golden.table(encoder).to_pandas()) == pytest.approx(np.array(golden.scores), rel=1e-6)
    assert list(model.metadata.signature.inputs.input_names()) == list(encoder.features)
    assert len(model.input_example) == 5


def test_a_model_that_was_changed_in_the_registry_does_not_load(ws: Workspace) -> None:
    register(ws, trained(ws), AS_OF)
    (file,) = Path(ws.store.uri("mlflow/artifacts")).rglob("encoder.json")
    file.write_bytes(file.read_bytes().replace(b"app", b"apq"))
    mlflow.set_tracking_uri(tracking_uri(ws.settings))
    with pytest.raises(InvalidModel, match="was changed after the training"):
        mlflow.pyfunc.load_model("models:/shop-returns/1")


def test_registering_again_changes_nothing(ws: Workspace, client: mlflow.MlflowClient) -> None:
    first = register(ws, trained(ws), AS_OF)
    head = len(ws.journal.entries())
    assert register(ws, trained(ws), moment("2024-06-15")) == first
    assert len(ws.journal.entries()) == head
    assert versions(client) == [1]


def test_a_version_that_the_journal_does_not_know_is_taken(ws: Workspace, client: mlflow.MlflowClient) -> None:
    first = register(ws, trained(ws), AS_OF)
    assert register(forget(ws), trained(ws), AS_OF) == first
    assert versions(client) == [1]
    assert len(runs(client)) == 4


def test_a_run_whose_writer_died_before_the_version_is_gone_on_with(ws: Workspace, client: mlflow.MlflowClient) -> None:
    first = register(ws, trained(ws), AS_OF)
    client.delete_registered_model("shop-returns")
    client.update_run(first.run, status="RUNNING")
    assert register(forget(ws), trained(ws), AS_OF) == first
    assert len(runs(client)) == 4
    assert set(runs(client).values()) == {"FINISHED"}


def test_versions_of_rivals_and_retries_are_taken_back(ws: Workspace, client: mlflow.MlflowClient) -> None:
    first = register(ws, trained(ws), AS_OF)
    kept = client.get_model_version("shop-returns", "1")
    rival = client.create_run(client.get_experiment_by_name("shop-returns").experiment_id, run_name="rival").info.run_id
    client.create_model_version("shop-returns", kept.source, rival, tags=kept.tags)
    client.create_model_version("shop-returns", kept.source, first.run, tags=kept.tags)
    assert versions(client) == [1, 2, 3]
    assert register(forget(ws), trained(ws), AS_OF) == first
    assert versions(client) == [1]
    assert "rival" not in runs(client)
    assert client.get_run(first.run).info.lifecycle_stage == "active"


REGISTER = """
import sys
from perennial.model.registry import register
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.builders import moment
ws = Workspace.open("shop-returns", Settings.model_validate_json(sys.argv[1]))
register(ws, ws.state().trained[-1], moment("2024-05-15"))
"""


@pytest.mark.long
def test_two_processes_in_an_empty_store_make_one_version_and_no_noise(template: Path, tmp_path: Path) -> None:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    ws = opened(tmp_path)
    command = [sys.executable, "-c", REGISTER, ws.settings.model_dump_json()]
    racers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [racer.communicate(timeout=120)[0].decode() for racer in racers]
    assert said == ["", ""]
    assert [racer.returncode for racer in racers] == [0, 0]
    client = mlflow.MlflowClient(tracking_uri(ws.settings), tracking_uri(ws.settings))
    assert versions(client) == [1]
    assert [entry.record.kind for entry in ws.journal.entries()].count("model.registered") == 1
    assert client.get_model_version("shop-returns", "1").run_id == ws.state().registered[trained(ws).model].run


def test_nothing_registered_is_nothing_to_project(ws: Workspace) -> None:
    assert project_aliases(ws) == ()


def test_aliases_and_verdicts_follow_the_journal(ws: Workspace, client: mlflow.MlflowClient) -> None:
    one, other = trained(ws, "majority"), trained(ws, "linear")
    register(ws, one, AS_OF)
    register(ws, other, AS_OF)
    assert project_aliases(ws) == ()

    judge(ws, 1, one.model, Answer.PASS)
    assert project_aliases(ws) == (
        "`challenger` is version 1",
        "`perennial.verdict` of version 1 is `PASS`",
        "`perennial.reasons` of version 1 is `It is PASS. So it goes.`",
    )
    release(ws, 1, one.model)
    assert project_aliases(ws) == ("`champion` is version 1", "`challenger` is no version any more")
    assert project_aliases(ws) == ()

    judge(ws, 2, other.model, Answer.FAIL)
    project_aliases(ws)
    assert aliases(client) == {"champion": 1, "challenger": 2}
    assert client.get_model_version("shop-returns", "2").tags["perennial.verdict"] == "FAIL"

    client.set_registered_model_alias("shop-returns", "champion", "2")
    client.delete_registered_model_alias("shop-returns", "challenger")
    assert project_aliases(ws) == ("`champion` is version 1", "`challenger` is version 2")


def aliases(client: mlflow.MlflowClient) -> dict[str, int]:
    return {name: int(one) for name, one in client.get_registered_model("shop-returns").aliases.items()}


def test_a_version_that_the_registry_lost_is_refused_with_what_to_do(
    ws: Workspace, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, publish = trained(ws), registry._publish

    def publish_and_lose(*given: Any) -> None:
        publish(*given)
        client.delete_model_version("shop-returns", "1")

    monkeypatch.setattr(registry, "_publish", publish_and_lose)
    with pytest.raises(RegistryRefused, match=f"does not have the version of model `{one.model[:12]}`"):
        register(ws, one, AS_OF)
    assert ws.state().registered == {}


def test_an_alias_of_a_version_that_the_registry_lost_is_refused(ws: Workspace, client: mlflow.MlflowClient) -> None:
    one = trained(ws)
    register(ws, one, AS_OF)
    release(ws, 1, one.model)
    client.delete_model_version("shop-returns", "1")
    with pytest.raises(RegistryRefused, match=r"does not have version 1 of `shop-returns`.* Restore"):
        project_aliases(ws)


def test_the_address_is_the_declared_one_or_a_file_below_a_local_root(tmp_path: Path) -> None:
    local = Settings(environment="dev", storage_root=str(tmp_path))
    assert tracking_uri(local) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert tracking_uri(local.model_copy(update={"mlflow_tracking_uri": "http://mlflow"})) == "http://mlflow"
    with pytest.raises(NoRegistry, match="Set `mlflow_tracking_uri`"):
        tracking_uri(Settings(environment="prod", storage_root="s3://bucket"))
    with pytest.raises(NoRegistry, match="is a `postgresql` address") as refused:
        tracking_uri(local.model_copy(update={"mlflow_tracking_uri": "postgresql://me:canary@host/mlflow"}))
    assert "canary" not in str(refused.value)


@pytest.fixture
def failing(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"no")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:canary@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("failing", "kind"),
    [(500, RegistryUnavailable), (503, RegistryUnavailable), (429, RegistryUnavailable), (401, RegistryRefused),
     (403, RegistryRefused)],
    indirect=["failing"],
)  # fmt: skip
def test_a_failing_server_is_retried_only_if_that_may_help(
    template: Path, failing: str, kind: type[Permanent | Transient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ws = opened(template, mlflow_tracking_uri=failing)
    with pytest.raises(kind) as failure:
        register(ws, trained(ws), AS_OF)
    assert "canary" not in str(failure.value)
    assert shown_uri(ws.settings) in str(failure.value)
    assert ws.state().registered == {}


def test_a_server_that_is_away_is_transient(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ws = opened(template, mlflow_tracking_uri="http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailable, match="could not answer"):
        register(ws, trained(ws), AS_OF)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    settings = Settings(environment="test", storage_root=str(tmp_path))
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(RegistryRefused, match="file is not a database"), registry_client(settings):
        pass


@pytest.mark.parametrize(
    "failure",
    [
        sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("database is locked")),
        mlflow.MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE),
        mlflow.MlflowException("too many requests", error_code=REQUEST_LIMIT_EXCEEDED),
    ],
)
def test_a_locked_database_and_a_busy_server_are_worth_a_retry(ws: Workspace, failure: Exception) -> None:
    with pytest.raises(RegistryUnavailable, match="Nothing is lost"), registry_client(ws.settings):
        raise failure


def test_mlflow_speaks_of_warnings_only(ws: Workspace) -> None:
    register(ws, trained(ws, "majority"), AS_OF)
    assert logging.getLogger("mlflow").level == logging.getLogger("alembic").level == logging.WARNING
