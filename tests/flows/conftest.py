"""One real Prefect server for all tests of flows, and one use case that has lived through some months."""

from collections.abc import Iterator

import pytest
from prefect._internal.concurrency.threads import wait_for_global_loop_exit
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from blocks.documents import using
from perennial.workspace import Workspace
from tests.builders import make_use_case
from tests.flows.living import challenge, live


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    quick = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(quick), prefect_test_harness(server_startup_timeout=120):
        yield
        wait_for_global_loop_exit(timeout=10)


@pytest.fixture(scope="session")
def lived(server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = make_use_case(tmp_path_factory.mktemp("lived"), rows=2000)
    with using(workspace.settings):
        live(workspace)
        challenge(workspace)
        yield workspace
