"""The images: what is in them and what is not, who runs in them, and what a change costs."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from deployments.bills import bill_of
from perennial.model.revision import code_revision
from tests.docker.engine import HARDENED, build, docker, inspect, project_copy

pytestmark = pytest.mark.docker

LOADS = {
    "flows": "flows.pipeline, flows.rollout, deployments.apply, mlflow, evidently, xgboost, prefect_docker",
    "serving": "pytz, serving.app, serving.worker, serving.duties, xgboost, skops.io, sklearn.linear_model, deltalake",
}
MEGABYTES = {"flows": 1800, "serving": 700}
SECRET = "hunter2-of-the-tests"


def python(image: str, code: str, *options: str) -> str:
    return docker("run", "--rm", *HARDENED, *options, "--entrypoint", "python", image, "-c", code)


@pytest.mark.parametrize("target", LOADS)
def test_everything_loads_without_root_without_a_network_and_without_writing(
    images: dict[str, str], target: str
) -> None:
    code = (
        f"import os, {LOADS[target]}; from importlib.metadata import version; print(os.getuid(), version('perennial'))"
    )
    assert python(images[target], code, "--network", "none") == "10001 0.1.0"


@pytest.mark.parametrize("target", LOADS)
def test_nothing_of_an_image_can_be_changed_by_what_runs_in_it(images: dict[str, str], target: str) -> None:
    code = (
        "import os; print([path for path in ('/app', '/opt/venv', '/opt/perennial', '/') if os.access(path, os.W_OK)])"
    )
    assert docker("run", "--rm", "--entrypoint", "python", images[target], "-c", code) == "[]"


@pytest.mark.parametrize("target", LOADS)
def test_an_image_says_what_it_was_built_from_and_how_to_ask_for_its_health(
    images: dict[str, str], target: str
) -> None:
    found = inspect(images[target])["Config"]
    assert found["Labels"]["org.opencontainers.image.revision"] == code_revision()
    assert found["Labels"]["org.opencontainers.image.title"] == f"perennial-{target}"
    assert found["User"] == "10001:10001"
    assert found["Healthcheck"]["Test"][0] == "CMD"
    printed = python(images[target], "from perennial.model.revision import code_revision as one; print(one())")
    assert printed == code_revision()


def test_a_container_is_well_while_its_address_answers(images: dict[str, str]) -> None:
    check = inspect(images["serving"])["Config"]["Healthcheck"]["Test"][1:]
    options = ["run", "--rm", *HARDENED, "--network", "none", "--entrypoint", check[0], images["serving"], *check[1:]]
    assert subprocess.run(["docker", *options], capture_output=True, timeout=60).returncode == 1
    without = [*options[:2], "--env", "PERENNIAL_HEALTH=", *options[2:]]
    assert subprocess.run(["docker", *without], capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("target", LOADS)
def test_an_image_is_as_small_as_was_said(images: dict[str, str], target: str) -> None:
    assert inspect(images[target])["Size"] < MEGABYTES[target] * 1e6


@pytest.mark.parametrize("target", LOADS)
def test_the_bill_of_an_image_names_what_its_lock_allowed(images: dict[str, str], target: str) -> None:
    made = bill_of(images[target], target)
    packages = [one for one in made["components"] if one["purl"].startswith("pkg:pypi/")]
    assert [one["name"] for one in packages if "hashes" not in one] == ["perennial"]
    assert any(one["purl"].startswith("pkg:deb/debian/libc6@") for one in made["components"])


def test_the_service_has_nothing_of_orchestration_and_no_installer(images: dict[str, str]) -> None:
    code = (
        "from importlib.util import find_spec; "
        "print([name for name in ('prefect', 'mlflow', 'pandas', 'flows', 'blocks', 'pip') if find_spec(name)])"
    )
    assert python(images["serving"], code) == "[]"


def test_no_secret_of_the_checkout_or_the_builder_gets_into_a_layer_or_the_history(
    images: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_copy(tmp_path)
    (project / ".env").write_text(f"AWS_SECRET_ACCESS_KEY={SECRET}\n")
    keys = project / ".perennial" / "test" / "run" / "keys.json"
    keys.parent.mkdir(parents=True)
    keys.write_text(json.dumps({"PREFECT_API_AUTH_STRING": f"perennial:{SECRET}"}))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    image = build(project, "flows")
    names, found = set[str](), list[str]()
    for name, file in files_of(image):
        names.add(name)
        if SECRET.encode() in file.read():
            found.append(name)
    assert found == []
    assert "app/flows/pipeline.py" in names
    assert not [name for name in names if name.startswith("app/") and Path(name).name in {".env", "keys.json", ".git"}]
    assert SECRET not in docker("history", "--no-trunc", image)


def files_of(image: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield every file of every layer, the manifest and the history included, under its path."""
    saving = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
    with saving, tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None:
                continue
            if not entry.name.endswith(".tar"):
                yield entry.name, content
                continue
            with tarfile.open(fileobj=content, mode="r|") as layer:
                for one in layer:
                    if one.isfile() and (inner := layer.extractfile(one)):
                        yield one.name, inner


def test_a_change_of_a_flow_changes_only_the_last_layers(images: dict[str, str], tmp_path: Path) -> None:
    project = project_copy(tmp_path)
    before = inspect(build(project, "flows"))["RootFS"]["Layers"]
    with (project / "flows" / "training.py").open("a") as file:
        file.write("# changed\n")
    after = inspect(build(project, "flows"))["RootFS"]["Layers"]
    differing = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert differing and differing[0] >= len(before) - 2
    assert before[:2] == inspect(images["flows"])["RootFS"]["Layers"][:2], "base and dependencies"
