"""What is told after it was recorded, as a real server received it."""

from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter

from blocks.documents import using
from flows.ingestion import ingest
from flows.validation import NothingReceived, validate
from perennial.data.acceptance import DeliveryRefused
from perennial.periods import Period
from perennial.workspace import Workspace
from tasks.server import all_runs
from tests.builders import make_use_case, write_month
from tests.flows.living import MONTHS, live
from tests.servers import until


def told(event: str, environment: str) -> list[dict[str, Any]]:
    wanted = {"filter": {"event": {"name": [f"perennial.{event}"]}, "occurred": {}}, "limit": 50}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return [one for one in found if one["resource"]["perennial.environment"] == environment]


def test_a_release_is_told_with_its_use_case_and_environment(lived: Workspace) -> None:
    model = lived.state().released[0].model
    [event] = until(60, lambda: [one for one in told("model.released", "test") if one["payload"]["model"] == model])
    assert event["resource"]["prefect.resource.id"] == "perennial.use-case.shop-returns"
    assert event["payload"]["version"] == 1


def test_the_same_news_again_is_the_same_event(lived: Workspace) -> None:
    live(lived)
    periods = {one.period for one in lived.state().accepted if one.source == "orders"}

    def orders() -> list[dict[str, Any]] | None:
        found = [one for one in told("delivery.accepted", "test") if one["payload"]["rows"] == 2000]
        mine = [one for one in found if one["payload"]["source"] == "orders"]
        return mine if {one["payload"]["period"] for one in mine} == periods else None

    accepted = until(60, orders)
    assert len({one["id"] for one in accepted}) == len(accepted) == len(periods) == len(MONTHS) + 1


def test_a_refused_delivery_fails_the_run_and_is_told_in_the_same_words(
    server: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = make_use_case(
        tmp_path_factory.mktemp("refused"), changes={"sources": {"orders": {"volume": {"min_rows": 500}}}}
    )
    settings = workspace.settings.model_copy(update={"environment": "refusing"})
    moment = Period.parse("2024-01").end
    with using(settings):
        ingest("shop-returns", "2024-01", moment)
        with pytest.raises(DeliveryRefused) as refusal:
            validate("shop-returns", "2024-01", moment)
    [event] = until(60, lambda: told("delivery.refused", "refusing"))
    assert event["payload"]["reason"] == str(refusal.value)
    with get_client(sync_client=True) as client:
        [run] = all_runs(client, {"tags": {"all_": ["refusing"]}, "state": {"type": {"any_": ["FAILED"]}}})
        wanted = ArtifactFilter.model_validate({"flow_run_id": {"any_": [str(run.id)]}})
        shown = {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=wanted)}
    assert str(refusal.value) in shown["shop-returns-error"]
    assert "| delivery.refused |" in shown["shop-returns-journal"], "a run that failed shows what it recorded"


def test_validating_what_never_came_says_which_command_is_missing(
    server: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = make_use_case(tmp_path_factory.mktemp("nothing"))
    with using(workspace.settings), pytest.raises(NothingReceived, match="perennial ingest shop-returns"):
        validate("shop-returns", "2024-01", Period.parse("2024-01").end)


def test_a_corrected_delivery_is_a_new_revision_with_its_own_event(
    server: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = make_use_case(tmp_path_factory.mktemp("corrected"), rows=50)
    settings = workspace.settings.model_copy(update={"environment": "correcting"})
    moment = Period.parse("2024-01").end
    with using(settings):
        ingest("shop-returns", "2024-01", moment)
        write_month(workspace.use_case.folder, "2024-01", 60, seed=9)
        again = {one.source: one.revision for one in ingest("shop-returns", "2024-01", moment)}
    assert again == {"orders": 2, "outcomes": 2, "shops": 1}
