"""What mends others is lost itself: a `reconcile` whose worker dies before it begins holds up the next for a lease."""

from collections.abc import Iterator

import pytest

from tests.faults.alerts import SLUG, Scene, kill_tree, scene
from tests.servers import until

pytestmark = pytest.mark.long
LEASE = 30
"""Seconds after which the server takes back the slot of a run that never began: the shortest; 300 where nobody says."""


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    lease = {"PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": str(LEASE)}
    with scene(tmp_path_factory.mktemp("lost"), **lease) as found:
        yield found


def test_a_reconcile_that_is_lost_while_it_is_pending_holds_up_no_other_for_ever(stage: Scene) -> None:
    worker = stage.work()
    lost = stage.start("reconcile/dev", use_case=SLUG)
    until(150, lambda: stage.runs("reconcile", "PENDING"))
    kill_tree(worker)
    assert stage.run(lost).state_type == "PENDING"
    assert stage.slots("reconcile/dev") == 1
    worker = stage.work()

    def is_reconciled() -> bool:
        """Let the next one come, as the schedule does; while the slot is taken it is cancelled at once."""
        stage.start("reconcile/dev", use_case=SLUG)
        stage.quiet(beside=lost)
        return bool(stage.runs("reconcile", "COMPLETED"))

    until(6 * LEASE, is_reconciled)
    assert stage.run(lost).state_type == "PENDING"
    until(150, lambda: stage.is_given_up(lost, patience=3))
    stage.quiet()
    assert stage.slots("reconcile/dev") == 0
    kill_tree(worker)
