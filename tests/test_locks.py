"""What the online service installs: the versions that were tested, and none of what it never loads."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABSENT = {"prefect", "mlflow", "mlflow-skinny", "evidently", "pandera", "pandas", "polars", "matplotlib", "fastapi"}


def locked(path: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.!+-]+)", (ROOT / path).read_text(encoding="utf-8"), re.M):
        versions.setdefault(name, set()).add(version)
    return versions


def test_the_service_runs_on_the_versions_that_were_tested() -> None:
    everything, serving = locked("requirements.lock"), locked("deployments/images/serving.lock")
    assert serving
    assert {name: found for name, found in serving.items() if not found <= everything.get(name, set())} == {}


def test_the_service_installs_nothing_of_orchestration_and_training() -> None:
    assert ABSENT & locked("deployments/images/serving.lock").keys() == set()


def test_every_line_of_the_lock_is_checked_and_names_no_index() -> None:
    text = (ROOT / "deployments/images/serving.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=\S)", text, flags=re.M)[1:]
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []
    assert "://" not in text
