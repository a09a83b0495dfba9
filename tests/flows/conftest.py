"""One real Prefect server for all tests of flows, and one use case that has lived through some months."""

from collections.abc import Iterator

import pytest
from prefect._internal.concurrency.threads import wait_for_global_loop_exit
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from blocks.documents import using
from perennial.workspace import Workspace
from tests.builders import make_use_case
from tests.flows.living import challenge, live
from tests.servers import running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        running_server(tmp_path_factory.mktemp("server")) as started,
        temporary_settings({PREFECT_API_URL: started.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield
        wait_for_global_loop_exit(timeout=10)


@pytest.fixture(scope="session")
def lived(server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = make_use_case(tmp_path_factory.mktemp("lived"), rows=2000)
    with using(workspace.settings):
        live(workspace)
        challenge(workspace)
        yield workspace
