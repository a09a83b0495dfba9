"""What is installed: here all that is declared, in the images the versions tested and none of what they never load."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "deployments/images/flows.lock", "deployments/images/serving.lock")
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


@pytest.mark.parametrize("path", LOCKS)
def test_every_line_of_a_lock_is_checked_and_names_no_index(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    entries = re.split(r"^(?=\S)", text, flags=re.M)[1:]
    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert "://" not in text


def needed() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Requirement(one) for one in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"])]


def pinned(python: str) -> dict[str, set[str]]:
    """What `requirements.lock` installs on a version of Python."""
    lines = re.findall(r"^(\S.*?) \\$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M)
    world = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    versions: dict[str, set[str]] = {}
    for one in map(Requirement, lines):
        if one.marker is None or one.marker.evaluate(world):
            versions.setdefault(canonicalize_name(one.name), set()).add(str(one.specifier).removeprefix("=="))
    return versions


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_gives_each_python_one_version_of_everything_that_is_declared(python: str) -> None:
    versions = pinned(python)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    wrong = [
        f"{one} is {versions.get(canonicalize_name(one.name))}"
        for one in needed()
        if not all(map(one.specifier.contains, versions.get(canonicalize_name(one.name), {"nothing"})))
    ]
    assert wrong == []
