"""The images: what is in them and what is not, who runs in them, and what a change costs."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from deployments.bills import bill_of
from perennial.model.revision import code_revision
from tests.docker.engine import BUILDERS_SECRET, HARDENED, build, docker, inspect, project_copy
from tests.servers import ROOT, free_port, until

pytestmark = pytest.mark.docker

LOADS = {
    "flows": "flows.pipeline, flows.rollout, deployments.apply, mlflow, evidently, xgboost, prefect_docker",
    "serving": "pytz, serving.app, serving.worker, serving.duties, xgboost, skops.io, sklearn.linear_model, deltalake",
}
MEGABYTES = {"flows": 1800, "serving": 700}
SECRET = b"hunter2-of-the-tests"
PLANTED = (
    ".env",
    ".perennial/test/run/keys.json",
    ".git/config",
    "deployments/compose/secrets/mlflow_password",
    "use_cases/flight-delay/.env",
    "use_cases/.env.local",
    "flows/.envrc",
    "serving/.perennial/keys.json",
    "serving/server.pem",
    "flows/private.key",
    "use_cases/flight-delay/credentials",
    "use_cases/credentials.json",
)


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
    for part in ("pkg:deb/debian/libc6@", "pkg:generic/cpython@3.11."):
        assert any(one["purl"].startswith(part) for one in made["components"])


def test_the_service_has_nothing_of_orchestration_and_no_installer(images: dict[str, str]) -> None:
    code = (
        "from importlib.util import find_spec; "
        "print([name for name in ('prefect', 'mlflow', 'pandas', 'flows', 'blocks', 'pip') if find_spec(name)])"
    )
    assert python(images["serving"], code) == "[]"


@pytest.fixture(scope="module")
def planted(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A checkout with secrets in it, everywhere where people leave them, and the images that are built from it."""
    project = project_copy(tmp_path_factory.mktemp("planted"))
    for place in PLANTED:
        path = project / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"AWS_SECRET_ACCESS_KEY=" + SECRET)
    return project, build(project)


def test_no_secret_of_the_checkout_or_the_builder_gets_into_a_layer_or_the_history(
    images: dict[str, str], planted: tuple[Path, dict[str, str]]
) -> None:
    built = [*images.values(), *planted[1].values()]
    names, found = set[str](), list[str]()
    for name, content in files_of(*built):
        names.add(name)
        if SECRET in content or BUILDERS_SECRET.encode() in content:
            found.append(name)
    assert found == []
    assert {"app/flows/pipeline.py", "app/serving/app.py", "opt/perennial/start.py"} <= names
    left = {Path(place).name for place in PLANTED} | {".git"}
    assert [name for name in names if name.startswith("app/") and left & set(Path(name).parts)] == []
    for image in built:
        told = docker("history", "--no-trunc", image) + json.dumps(inspect(image))
        assert not [one for one in (SECRET.decode(), BUILDERS_SECRET) if one in told]


def test_a_secret_in_a_layer_would_be_found(engine: None, tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"x" * 20_000 + SECRET)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY left /deep/left\n")
    image = docker("build", "--quiet", str(tmp_path))
    assert [name for name, content in files_of(image) if SECRET in content] == ["deep/left"]


def files_of(*images: str) -> Iterator[tuple[str, bytes]]:
    """Yield every file of every layer, and the manifests and settings, with its content; a shared layer once.

    Engines before 25 write a layer as `<id>/layer.tar`, later ones as `blobs/sha256/<digest>`.
    """
    saving = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE)
    with saving, tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
        for entry in archive:
            if not entry.isfile() or not (content := archive.extractfile(entry)):  # a shared layer is a link
                continue
            if not is_layer(content.peek(512)):  # type: ignore[attr-defined]
                yield entry.name, content.read()
                continue
            with tarfile.open(fileobj=content, mode="r|*") as layer:
                for one in layer:
                    if one.isfile() and (inner := layer.extractfile(one)):
                        yield one.name, inner.read()


def is_layer(head: bytes) -> bool:
    return head[257:262] == b"ustar" or head.startswith(b"\x1f\x8b")


def test_a_change_of_a_flow_changes_only_the_last_layers(
    images: dict[str, str], planted: tuple[Path, dict[str, str]]
) -> None:
    project, before = planted
    with (project / "flows" / "training.py").open("a") as file:
        file.write("# changed\n")
    after = build(project)
    assert after["serving"] == before["serving"]
    old, new = (inspect(one["flows"])["RootFS"]["Layers"] for one in (before, after))
    differing = [place for place, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    assert differing and differing[0] >= len(old) - 2
    assert old[:2] == inspect(images["flows"])["RootFS"]["Layers"][:2], "base and dependencies"


@pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is not installed")
def test_a_registry_gives_the_digest_that_is_pinned_and_pulled(engine: None, tmp_path: Path) -> None:
    shutil.copy2(ROOT / "prefect.yaml", tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch AS serving\nCOPY of /of\nFROM serving AS flows\nCOPY of /more\n")
    (tmp_path / "of").write_text(str(tmp_path))
    for _ in range(2):  # the second registry is asked for its own digest, though the first gave one too
        with registry(tmp_path) as address:
            for target, image in build(tmp_path, PREFECT_DEFAULT_DOCKER_BUILD_NAMESPACE=address).items():
                assert image.startswith(f"{address}/perennial-{target}@sha256:")
                docker("rmi", "--force", image)
                docker("pull", "--quiet", image)


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run a registry on loopback, where engines need no certificate; yields its address with a namespace."""
    address = f"127.0.0.1:{free_port()}"
    settings = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "kept")}}}
    written = folder / f"{address}.yaml"
    written.write_text(yaml.safe_dump({**settings, "http": {"addr": address}}))
    with (folder / "registry.log").open("a") as log:
        child = subprocess.Popen(["docker-registry", "serve", written], stdout=log, stderr=log)
    try:
        until(60, lambda: urlopen(f"http://{address}/v2/").status == 200)
        yield f"{address}/team"
    finally:
        child.terminate()
        child.wait(30)
