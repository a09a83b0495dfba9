"""What a run is about is settled once: never a moment in the future, and tags of all that it is about."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from blocks.documents import using
from flows.moments import CLOCKS_DIFFER, NotYet, until_now
from flows.occasion import occasion
from perennial.settings import Settings
from perennial.workspace import Workspace
from tasks.tagging import tag_run
from tests.builders import make_use_case


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return make_use_case(tmp_path, rows=1, months=())


def test_a_moment_in_the_future_is_refused_before_anything_is_done(server: None, ws: Workspace) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with using(ws.settings), pytest.raises(NotYet, match="in the future"), occasion("shop-returns", None, tomorrow):
        pass
    assert ws.journal.entries() == ()


def test_clocks_may_differ_a_little_and_without_a_zone_it_is_utc() -> None:
    soon = datetime.now(UTC) + CLOCKS_DIFFER / 2
    assert until_now(soon) == soon
    assert until_now(datetime(2024, 5, 1)) == datetime(2024, 5, 1, tzinfo=UTC)  # noqa: DTZ001


@flow
def begun(settings: Settings) -> datetime:
    with using(settings), occasion("shop-returns") as this:
        return this.as_of


def test_the_moment_of_a_run_that_names_none_is_a_plain_datetime(server: None, ws: Workspace) -> None:
    assert type(begun(ws.settings)) is datetime


@flow
def about_two() -> str:
    tag_run("one", "prod")
    tag_run("other", "prod")
    return str(flow_run.id)


def test_a_run_about_several_use_cases_bears_the_tags_of_all(server: None) -> None:
    run = about_two()
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run)  # type: ignore[arg-type]
    assert {"one", "other", "prod"} <= set(found.tags)
