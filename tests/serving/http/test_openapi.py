"""The description of the service: its examples are real, and what it says is what the service does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.examples import example_row
from tests.builders import make_use_case, moment
from tests.serving.http.conftest import MAY, Running, running
from tests.serving.http.small_replica import SmallReplica, Told

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
CONFIG = str(Path(__file__).with_name("schemathesis.toml"))


@pytest.fixture(scope="module")
def document(service: Running) -> Any:
    return service.client.get("/openapi.json").json()


def test_every_route_is_described_and_nothing_else(service: Running, document: Any) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes = {(one.method, one.template) for one in service.app.routes}
    assert routes - described == {("GET", "/docs"), ("GET", "/openapi.json")}
    assert described <= routes


def test_every_example_is_a_real_row_and_gets_a_score(service: Running, document: Any, replica: SmallReplica) -> None:
    sent = 0
    for path, methods in document["paths"].items():
        for example in methods.get("post", {}).get("requestBody", {}).get("content", {}).values():
            for one in example["examples"].values():
                response = service.client.post(path.replace("{version}", "1"), json=one["value"])
                assert response.status_code == 200, response.text
                sent += 1
    assert sent == 6
    row = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]["one row"]
    newest = example_row(replica.ws, service.app._scoring.contract, MAY)
    assert row["value"] == newest
    assert newest["ordered_at"].startswith("2024-04-")


def test_without_a_lake_the_example_is_made_up_and_still_fits(service: Running, tmp_path: Any) -> None:
    empty = make_use_case(tmp_path, rows=5, months=["2024-01"])
    row = example_row(empty, service.app._scoring.contract, moment("2024-05-01"))
    assert service.client.post("/predict", json=row).status_code == 200


def test_the_page_needs_no_script_and_shows_every_path(service: Running, document: Any) -> None:
    response = service.client.get("/docs")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script" not in response.text
    assert all(path in response.text for path in document["paths"])


@pytest.mark.long
def test_the_service_does_what_its_description_says(replica: SmallReplica, tmp_path: Path) -> None:
    """Examples, border cases, random bodies that fit or break the schema, and sequences; with and without the token."""
    with running(replica, Told(tokens=("right",)), Authorization="Bearer right") as guarded:
        url = f"http://127.0.0.1:{guarded.port}/openapi.json"
        given = ["--header", "Authorization: Bearer right", "--max-examples", "30", "--seed", "1", "--no-color"]
        command = [SCHEMATHESIS, "--config-file", CONFIG, "run", url, *given, "--generation-database", "none"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        operations = len(guarded.app.routes) - 2
    assert done.returncode == 0, done.stdout[-5000:]
    assert f"Tested: {operations}" in done.stdout
    assert [line.strip() for line in done.stdout.splitlines() if "❌" in line] == []


def test_the_description_says_whether_a_token_is_needed(service: Running, document: Any, replica: SmallReplica) -> None:
    assert document["security"] == []
    with running(replica, Told(tokens=("right",)), Authorization="Bearer right") as guarded:
        said = guarded.client.get("/openapi.json").json()
    assert said["security"] == [{"token": []}]
    unguarded = {path for path, methods in said["paths"].items() if methods.get("get", {}).get("security") == []}
    assert unguarded == {one.template for one in service.app.routes if one.is_open}
