"""What the images install: the versions that were tested, and none of what they never load."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABSENT = {"prefect", "mlflow", "mlflow-skinny", "evidently", "pandera", "pandas", "polars", "matplotlib", "fastapi"}


def locked(path: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.!+-]+)", (ROOT / path).read_text(encoding="utf-8"), re.M):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize("image", ["flows", "serving"])
def test_an_image_runs_on_the_versions_that_were_tested(image: str) -> None:
    everything, installed = locked("requirements.lock"), locked(f"deployments/images/{image}.lock")
    assert installed
    assert {name: found for name, found in installed.items() if not found <= everything.get(name, set())} == {}


def test_the_service_installs_nothing_of_orchestration_and_training() -> None:
    assert ABSENT & locked("deployments/images/serving.lock").keys() == set()


def test_flow_runs_install_nothing_of_the_tests() -> None:
    assert {"pytest", "moto", "hypothesis", "mypy", "locust"} & locked("deployments/images/flows.lock").keys() == set()


@pytest.mark.parametrize("image", ["flows", "serving"])
def test_every_line_of_a_lock_is_checked_and_names_no_index(image: str) -> None:
    text = (ROOT / f"deployments/images/{image}.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=\S)", text, flags=re.M)[1:]
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []
    assert "://" not in text
