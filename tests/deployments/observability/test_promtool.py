"""Metrics and alerts as Prometheus's own tool sees them; without it (`apt-get install prometheus`) they are skipped."""

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from deployments.observability.journals import journal_metrics
from deployments.observability.orchestration import orchestration_metrics
from deployments.observability.serving import NEWEST_ROW_WITHIN, serving_metrics
from perennial.periods import Every
from perennial.release.reports import Report, write_report
from tests.builders import deliver, make_use_case, moment
from tests.servers import ROOT

ALERTS = ROOT / "deployments" / "observability" / "alerts.yaml"
NOW = moment("2024-03-01")
with_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
SERVICE = """
import os, sys
from datetime import UTC, datetime
from perennial.release.reports import Report
from serving.metrics import Metrics
now = datetime.now(UTC)
metrics = Metrics("binary")
metrics.request("/predict", 200, 0.01, "1")
metrics.refused("invalid")
metrics.unknown({"channel": 1})
metrics.batch(2)
report = Report(replica="a", address="", started_at=now, at=now, release=1, features_at=now, newest_row_at=now)
metrics.replica(report, True, 0.5, 0, now)
if sys.argv[1:]:
    sys.stdout.buffer.write(metrics.text())
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `perennial metrics` answers of a use case with a service, its server apart."""
    ws = make_use_case(tmp_path_factory.mktemp("shop"), rows=5, changes={"serving": {}})
    deliver(ws, "2024-01")
    known = {"features_at": NOW, "newest_row_at": NOW}
    write_report(ws, Report(replica="a", address="", started_at=NOW, at=NOW, release=1, **known))

    class Journals(Collector):
        def collect(self):
            return [*journal_metrics([ws], "test"), *serving_metrics([ws], "test", NOW)]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Journals())
    return generate_latest(registry)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a service with two processes answers."""
    variables = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path_factory.mktemp("metrics"))}
    command = [sys.executable, "-c", SERVICE]
    subprocess.run(command, cwd=ROOT, env=variables, check=True, timeout=60)
    return subprocess.run([*command, "show"], cwd=ROOT, env=variables, check=True, capture_output=True).stdout


def test_alerts_rest_on_metrics_that_there_are(exported: bytes, served: bytes) -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    asked = {name for rule in rules for name in re.findall(r"perennial_\w+", rule["expr"])}
    told = set(re.findall(r"^(perennial_\w+)", (exported + served).decode(), re.MULTILINE))
    of_server = Path(orchestration_metrics.__code__.co_filename).read_text()
    unknown = {name for name in asked - told if f'"{name.removeprefix("perennial_")}"' not in of_server}
    assert unknown == {"perennial_up", "perennial_use_case_up"}, "the exporter itself gives those"
    assert len(rules) > 10


def test_backfilling_an_old_period_makes_no_stage_older(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, rows=5, months=("2024-01", "2024-02"))
    deliver(ws, "2024-02")
    deliver(ws, "2024-01")
    assert [one.at for one in ws.journal.entries()][-1] < NOW
    [found] = [one for one in journal_metrics([ws], "test") if one.name.endswith("last_success_timestamp_seconds")]
    assert {one.value for one in found.samples} == {NOW.timestamp()}


@with_promtool
@pytest.mark.long
def test_the_metrics_are_as_prometheus_wants_them(exported: bytes, served: bytes) -> None:
    for text in (exported, served):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, b""), checked.stderr.decode()


@with_promtool
@pytest.mark.long
def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yaml"), tmp_path)
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


LENGTHS = {Every.DAY: timedelta(days=1), Every.MONTH: timedelta(days=31)}


@with_promtool
@pytest.mark.long
@pytest.mark.parametrize(
    ("every", "row", "run", "step"),
    [
        (Every.DAY, timedelta(hours=17), timedelta(hours=6), timedelta(minutes=10)),
        (Every.DAY, timedelta(hours=17), timedelta(hours=13), timedelta(minutes=10)),
        (Every.MONTH, timedelta(days=20), timedelta(days=3), timedelta(hours=6)),
    ],
)
def test_rows_are_old_only_where_a_delivery_is_missing(
    tmp_path: Path, every: Every, row: timedelta, run: timedelta, step: timedelta
) -> None:
    """Each period has its newest row and is delivered at the same time; after three no more come.

    Args:
        row: From the beginning of a period to its newest row.
        run: From the end of a period to its delivery.
        step: Between two looks at the metrics.
    """
    length, within = LENGTHS[every], NEWEST_ROW_WITHIN[every]
    newest = [row + place * length for place in range(-1, 3)]
    delivered = [run + place * length for place in range(1, 4)]
    old = newest[-1] + within
    ends = [*delivered, old + 10 * step]
    steps = [(end - begin) // step for begin, end in zip([timedelta(), *delivered], ends, strict=True)]
    known = " ".join(f"{at.total_seconds():.0f}x{n - 1}" for at, n in zip(newest, steps, strict=True))
    telling = {
        "exp_labels": {"use_case": "a", "environment": "t"},
        "exp_annotations": {"summary": _told(within + 6 * step)},
    }
    test = {
        "interval": _minutes(step),
        "input_series": [
            _series("timestamp_seconds", known),
            _series("within_seconds", f"{within.total_seconds():.0f}x{sum(steps)}"),
        ],
        "alert_rule_test": [*(_at(one - step) for one in delivered), _at(old), _at(old + 6 * step, telling)],
    }
    rules = {"rule_files": [str(ALERTS)], "evaluation_interval": _minutes(step), "tests": [test]}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(["promtool", "test", "rules", "rows.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _series(name: str, values: str) -> dict[str, str]:
    return {"series": f'perennial_serving_newest_row_{name}{{use_case="a", environment="t"}}', "values": values}


def _at(at: timedelta, *told: dict[str, Any]) -> dict[str, Any]:
    return {"eval_time": _minutes(at), "alertname": "PerennialOnlineDataOld", "exp_alerts": [*told]}


def _minutes(span: timedelta) -> str:
    return f"{span // timedelta(minutes=1)}m"


def _told(age: timedelta) -> str:
    hours, seconds = divmod(age.seconds, 3600)
    since = f"{age.days}d {hours}h {seconds // 60}m 0s"
    return f"a: the newest row of a source that online features read is {since} old."
