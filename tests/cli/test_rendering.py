"""`perennial render` writes the same service in the words of the place that one word of the environment names."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from perennial.hosting.promise import SECRETS
from tests.builders import make_use_case

IMAGE = "registry.example.org/perennial-serving@sha256:" + 64 * "c"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings = make_use_case(tmp_path, months=(), changes={"serving": {}}).settings
    monkeypatch.setenv("PERENNIAL_USE_CASES", settings.use_cases)
    monkeypatch.setenv("PERENNIAL_ENV", "test")
    monkeypatch.setenv("PERENNIAL_SERVING_IMAGE", IMAGE)
    return monkeypatch


def render(word: str, shop: pytest.MonkeyPatch) -> list[dict[str, object]]:
    shop.setenv("PERENNIAL_WORK_POOL", word)
    done = CliRunner().invoke(app, ["render", "shop-returns"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return list(yaml.safe_load_all(done.stdout))


def test_a_cluster_gets_its_objects(shop: pytest.MonkeyPatch) -> None:
    found = [(one["kind"], one["metadata"]["name"]) for one in render("kubernetes", shop)]  # type: ignore[index]
    kinds = ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget")
    assert found == [(kind, "shop-returns") for kind in kinds]


def test_an_engine_gets_a_compose_file(shop: pytest.MonkeyPatch) -> None:
    ((found,),) = (one["services"].values() for one in render("docker", shop))  # type: ignore[attr-defined]
    assert (found["image"], found["read_only"], found["user"]) == (IMAGE, True, "10001:10001")


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize("given", [{"AWS_REGION": "eu-central-1"}, {}], ids=str)
def test_an_engine_hands_the_region_on_where_there_is_one(
    shop: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str]
) -> None:
    shop.delenv("AWS_REGION", raising=False)
    (made,) = render("docker", shop)
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump({"version": "3.8", **made}))
    secrets = dict.fromkeys(SECRETS, "secret")
    command = ["docker-compose", "--file", "compose.yaml", "config"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **secrets, **given}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)["services"]["shop-returns"]["environment"]
    assert told.get("AWS_REGION") == given.get("AWS_REGION")


def test_a_machine_gets_a_command(shop: pytest.MonkeyPatch) -> None:
    (found,) = render("process", shop)
    assert found["command"] == ["python", "-m", "serving", "shop-returns", "--replicas", "2"]


def test_no_secret_is_written(shop: pytest.MonkeyPatch) -> None:
    shop.setenv("PERENNIAL_SERVING_TOKENS", "canary-77f1")
    for word in ("kubernetes", "docker", "process"):
        assert "canary-77f1" not in yaml.safe_dump(render(word, shop))


def test_containers_without_an_image_are_refused(shop: pytest.MonkeyPatch) -> None:
    shop.setenv("PERENNIAL_SERVING_IMAGE", "")
    shop.setenv("PERENNIAL_WORK_POOL", "kubernetes")
    done = CliRunner().invoke(app, ["render", "shop-returns"])
    assert done.exit_code == 1
    assert "names no image" in done.output + (done.stderr or "")
