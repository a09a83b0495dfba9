"""What a server and its own signs tell of the run that holds a claim, and what others then do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Pending, Running

from blocks.documents import using
from flows.retraining import retrain
from perennial.periods import Period
from perennial.records import RetrainingDecided, RetrainingEnded
from perennial.watch.claims import Life, Runner, Suppressed, claim
from perennial.watch.signs_of_life import SILENCE, give_sign, last_sign
from tasks.retraining import life_of
from tests.builders import make_use_case

NOW = datetime.now(UTC)
FEBRUARY = Period.parse("2024-02")
FRESH, OLD = NOW, NOW - SILENCE


@flow
def somebody() -> None:
    """A run that a test says something of."""


def run(client: SyncPrefectClient, state: "State[None]", waits_for_worker: bool = False) -> str:
    """Let the server know of a run, of a deployment or in somebody's terminal, without running it."""
    if not waits_for_worker:
        return str(client.create_flow_run(somebody, state=state).id)
    deployment = client.create_deployment(client.create_flow(somebody), "somebody")
    return str(client.create_flow_run_from_deployment(deployment, state=state).id)


@pytest.mark.parametrize(
    ("state", "waits", "sign", "life"),
    [
        (Completed(), False, FRESH, Life.ENDED),
        (Cancelled(), False, FRESH, Life.CANCELLED),
        (Running(), False, FRESH, Life.ALIVE),
        (Running(), False, OLD, Life.LOST),
        (Running(), True, OLD, Life.LOST),
        (Running(), False, None, Life.UNKNOWN),
        (Pending(), True, OLD, Life.ALIVE),
        (Pending(), False, OLD, Life.LOST),
        (None, False, OLD, Life.LOST),
        (None, False, FRESH, Life.ALIVE),
        (None, False, None, Life.UNKNOWN),
    ],
)
def test_a_killed_run_is_lost_whatever_the_server_says_of_it(
    server: None, tmp_path: Path, state: "State[None] | None", waits: bool, sign: datetime | None, life: Life
) -> None:
    workspace = make_use_case(tmp_path, rows=1, months=())
    with get_client(sync_client=True) as client:
        holder = run(client, state, waits) if state else "00000000-0000-0000-0000-000000000000"
        if sign:
            give_sign(workspace, holder, sign)
        assert life_of(client, workspace, holder, NOW) is life


def test_what_a_killed_command_held_is_trained_by_the_next_once_its_silence_tells(server: None, tmp_path: Path) -> None:
    workspace = make_use_case(tmp_path, rows=1, months=())
    asked = RetrainingDecided(period=FEBRUARY.label, release=None, action="retrain", reasons=("The first.",))
    workspace.journal.decide(lambda _: asked, FEBRUARY.end)
    with get_client(sync_client=True) as client:
        killed = run(client, Running())
    give_sign(workspace, killed, datetime.now(UTC))
    claim(workspace, FEBRUARY, FEBRUARY.end, Runner(killed, 1, NOW), {})
    with using(workspace.settings):
        waits = retrain("shop-returns", FEBRUARY.label, FEBRUARY.end)
        assert isinstance(waits, Suppressed) and killed in waits.reason
        give_sign(workspace, killed, datetime.now(UTC) - SILENCE - timedelta(seconds=1))
        done = retrain("shop-returns", FEBRUARY.label, FEBRUARY.end)
    assert isinstance(done, RetrainingEnded) and done.claim == 2
    held = workspace.state().requests[1].claim
    assert held and last_sign(workspace, held.holder) is None
