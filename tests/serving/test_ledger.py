"""What died with a replica is told to the answer, also when it died while the store took a segment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.release.answers import collect_answers
from perennial.release.reports import Report, read_reports, write_report
from serving.ledger import settle
from serving.settings import SHARED
from serving.worker import STUCK
from tests.perennial.release.conftest import MAY, Shop
from tests.perennial.release.trials import report_written
from tests.servers import ROOT
from tests.serving.dying_log import GIVEN, LOGGED


@pytest.mark.parametrize(
    ("place", "logged", "code"),
    [("waiting", LOGGED, -9), ("unwritten", LOGGED, -9), ("written", GIVEN, -9), ("stuck", GIVEN, STUCK)],
)
def test_what_died_with_a_replica_is_known_to_the_answer(
    shop: Shop, tmp_path: Path, place: str, logged: int, code: int
) -> None:
    """The report that it left says less: it was written before."""
    folder = tmp_path / "shared"
    folder.mkdir()
    write_report(shop.ws, Report(replica="one", address="", started_at=MAY, at=MAY, answered=1, logged=1))
    variables = {**os.environ, SHARED: str(folder)}
    command = [sys.executable, "-m", "tests.serving.dying_log", shop.ws.settings.model_dump_json(), place]
    assert subprocess.run(command, cwd=ROOT, env=variables, timeout=60).returncode == code
    settle(shop.ws, variables)
    [report] = read_reports(shop.ws)
    assert (report.answered, report.logged, report.at) == (GIVEN, logged, MAY)
    assert list(folder.iterdir()) == []
    report_written(shop.ws, report)
    record = collect_answers(shop.ws, MAY.replace(month=6))
    assert record is not None
    assert record.rows == logged
    collect_answers(shop.ws, MAY.replace(month=7))
    assert shop.ws.state().lost == {"one": GIVEN - logged}


def test_a_living_replica_is_left_alone_and_one_that_took_its_leave_is_only_forgotten(
    shop: Shop, tmp_path: Path
) -> None:
    alive, left = tmp_path / f"one.{os.getpid()}.ledger", tmp_path / "two.4194304.ledger"
    for one in (alive, left):
        one.write_bytes(bytes(40))
    goodbye = Report(replica="two", address="", started_at=MAY, at=MAY, answered=3, logged=3, ended=True)
    write_report(shop.ws, goodbye)
    settle(shop.ws, {SHARED: str(tmp_path)})
    assert list(tmp_path.glob("*.ledger")) == [alive]
    assert read_reports(shop.ws) == [goodbye]
    settle(shop.ws, {})
