"""The services of `compose.yaml` under the restrictions that it puts on them, and the first steps of its guide."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.docker.engine import docker, inspect
from tests.docker.host import Host, one_host
from tests.servers import ROOT

pytestmark = pytest.mark.docker

GUIDE = (ROOT / "docs" / "install-one-host.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def host(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with one_host(tmp_path_factory.mktemp(f"host-{uuid4().hex[:8]}"), images) as found:
        yield found


def asked(host: Host, name: str, path: str, login: str = "") -> str:
    headers = {"Authorization": login} if login else {}
    with urlopen(Request(f"http://127.0.0.1:{host.ports[name]}{path}", headers=headers), timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def test_prefect_shows_its_pages_though_nothing_can_be_written_but_its_state(host: Host) -> None:
    page = asked(host, "prefect", "/")
    script = re.search(r'src="([^"]+\.js)"', page)
    assert script, page[:500]
    assert len(asked(host, "prefect", script[1])) > 1000
    assert "OSError" not in docker("logs", host.running["prefect"], check=False)


def test_the_first_model_is_made_by_the_command_of_the_guide(host: Host) -> None:
    """`exec` goes past the entrypoint, which is what reads the secrets; the command reads them too."""
    (command,) = re.findall(r"^docker compose exec worker (perennial pipeline .*?)(?: +#|$)", GUIDE, flags=re.M)
    host.execute("worker", *command.split())
    told = json.loads(host.execute("worker", "perennial", "status", "--env", "prod", "--json"))
    assert told
    login = b64encode(f"perennial:{host.secret('mlflow_password')}".encode()).decode()
    path = "/api/2.0/mlflow/registered-models/get?name=flight-delay"
    assert json.loads(asked(host, "mlflow", path, f"Basic {login}"))["registered_model"]["name"] == "flight-delay"


def test_the_service_answers_whoever_has_the_token(host: Host) -> None:
    token = f"Bearer {host.secret('serving_token')}"
    assert json.loads(asked(host, "serving-a", "/version", token))["use_case"] == "flight-delay"


def test_prometheus_is_told_of_the_server_and_of_the_use_case(host: Host) -> None:
    told = asked(host, "metrics", "/metrics")
    assert 'perennial_up{environment="prod"} 1.0' in told
    assert re.search(r'^perennial_use_case_up\{.*"flight-delay".*\} 1\.0$', told, flags=re.M), told


def test_no_secret_stands_in_the_settings_of_a_container(host: Host) -> None:
    secrets = [path.read_text().strip() for path in (host.folder / "secrets").iterdir()]
    assert len(secrets) == 10
    for name, identity in host.running.items():
        found = json.dumps(inspect(identity)["Config"])
        assert [one for one in secrets if one in found] == [], name
