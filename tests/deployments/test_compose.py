"""`compose.yaml` is valid, holds together, and says nothing that the programs do not read."""

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from mlflow import environment_variables
from mlflow.cli import server as mlflow_server
from prefect.settings.legacy import _get_valid_setting_names
from prefect.settings.models.root import Settings as PrefectSettings
from typer.main import get_command

from cli.main import app
from deployments.images.start import with_secrets
from deployments.observability.serving import _ABOUT as TOLD_OF_SERVICES
from perennial.settings import Settings
from tests.servers import ROOT

# The schema that docker-compose 1.29.2 validates with (Apache 2.0, github.com/compose-spec/compose-spec), unchanged.
SCHEMA = json.loads((ROOT / "tests" / "deployments" / "compose-spec.schema.json").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if "PERENNIAL_" in one["image"]}
OBSERVED = ROOT / "deployments" / "observability"
POOL = json.loads((ROOT / "deployments" / "work_pools" / "docker.json").read_text(encoding="utf-8"))
PIDS = POOL["job_configuration"]["container_create_kwargs"]["pids_limit"]
SECRETS = "deployments/compose/secrets/"


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = SERVICES[name]
    return found


def variables(name: str) -> dict[str, str]:
    return service(name).get("environment", {})


def port_of(name: str) -> str:
    command = service(name).get("command", [])
    return command[command.index("--port") + 1] if "--port" in command else ""


def test_it_is_a_compose_file() -> None:
    errors = [f"{list(one.path)}: {one.message}" for one in jsonschema.Draft7Validator(SCHEMA).iter_errors(COMPOSE)]
    assert errors == []
    broken = {**COMPOSE, "services": {"x": {"imag": "y"}}}
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(broken)), "the schema refuses what it should"


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_itself_takes_it(tmp_path: Path) -> None:
    copy = shutil.copytree(ROOT / "deployments" / "compose", tmp_path / "deployments" / "compose")
    subprocess.run([copy / "make-secrets"], check=True, capture_output=True)
    shutil.copy2(ROOT / "compose.yaml", tmp_path)
    command = ["docker-compose", "--file", "compose.yaml", "config"]
    without = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert without.returncode != 0 and "`make images` prints both digests" in without.stderr
    (tmp_path / ".env").write_text("PERENNIAL_FLOWS_IMAGE=sha256:0\nPERENNIAL_SERVING_IMAGE=sha256:1\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == SERVICES.keys()


def test_no_image_of_ours_has_a_name_that_a_public_registry_would_be_asked_for() -> None:
    for one in OURS.values():
        assert re.fullmatch(r"\$\{PERENNIAL_(FLOWS|SERVING)_IMAGE:\?[^}]+\}", one["image"])


def test_everything_that_a_service_names_is_declared_and_the_other_way_round() -> None:
    secrets = {name for one in SERVICES.values() for name in one.get("secrets", [])}
    mounted = [volume.split(":")[0] for one in SERVICES.values() for volume in one.get("volumes", [])]
    files = [one for one in mounted if one.startswith("./")]
    assert secrets == set(COMPOSE["secrets"])
    assert {one for one in mounted if one not in files} == set(COMPOSE["volumes"])
    assert [one for one in files if not (ROOT / one).exists()] == []
    assert {name for one in SERVICES.values() for name in one["networks"]} == set(COMPOSE["networks"])


def test_whoever_is_waited_for_says_when_he_is_well() -> None:
    waited = {
        (name, condition["condition"])
        for one in SERVICES.values()
        for name, condition in one.get("depends_on", {}).items()
    }
    healthy = {name for name, condition in waited if condition == "service_healthy"}
    assert healthy and all("healthcheck" in service(one) or "PERENNIAL_HEALTH" in variables(one) for one in healthy)
    assert {name for name, condition in waited if condition == "service_completed_successfully"} == {"apply"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_started_again_and_only_the_proxy_is_reached_from_outside(name: str) -> None:
    found = service(name)
    assert found["restart"] == ("on-failure:3" if name == "apply" else "unless-stopped")
    assert ("ports" in found) == (name == "proxy")
    for port in found.get("ports", []):
        assert port.startswith("${PERENNIAL_ADDRESS:-127.0.0.1}:")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_writes_only_where_it_must_and_is_bounded(name: str) -> None:
    found = service(name)
    assert (found["read_only"], found["cap_drop"]) == (True, ["ALL"])
    assert found.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", found["mem_limit"]) and found["logging"]["options"]["max-size"]
    assert found["pids_limit"] == PIDS * (4 if name == "worker" else 1), "a worker's runs are processes of its own"
    assert not {"privileged", "pid", "ipc", "devices", "network_mode"} & found.keys()
    assert not [one for one in found.get("volumes", []) if "docker.sock" in one]
    assert name not in OURS or found["tmpfs"][0].startswith("/tmp:size=")


def test_the_database_counts_as_well_only_when_others_reach_it() -> None:
    """While PostgreSQL makes its databases it listens on a socket of its own, not on TCP."""
    asked = service("postgres")["healthcheck"]["test"]
    assert asked[asked.index("--host") + 1] == "127.0.0.1"


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_its_program_reads(name: str) -> None:
    names = {one.removesuffix("_FILE") for one in variables(name)}
    assert [one for one in names if one not in known_variables()] == []


def known_variables() -> set[str]:
    """Every variable that Prefect, Perennial, its service and MLflow read, as they say themselves."""
    sources = [ROOT / "serving" / "settings.py", ROOT / "deployments" / "images" / "healthy.py"]
    ours = {one for path in sources for one in re.findall(r"PERENNIAL_[A-Z_]+", path.read_text(encoding="utf-8"))}
    fields = {f"PERENNIAL_{name.upper()}" for name in Settings.model_fields}
    mlflow = {name for name in vars(environment_variables) if name.startswith("MLFLOW_")}
    mlflow |= {option.envvar for option in mlflow_server.params if isinstance(option.envvar, str)}
    prefect = _get_valid_setting_names(PrefectSettings) | {"PREFECT_SERVER_ENCRYPTION_KEY"}  # read past its settings
    return ours | fields | mlflow | prefect


@pytest.mark.parametrize("name", OURS)
def test_a_secret_is_a_file_that_the_service_is_given_and_no_text(name: str) -> None:
    given = {one: value for one, value in variables(name).items() if "/run/secrets/" in str(value)}
    assert {Path(value).name for value in given.values()} == set(service(name).get("secrets", []))
    needs_file = re.compile(r"PASSWORD|AUTH_STRING|ENCRYPTION_KEY|SECRET_KEY|TOKENS|CONNECTION_URL|BACKEND_STORE_URI")
    assert [one for one in variables(name) if needs_file.search(one) and not one.endswith("_FILE")] == []


def test_only_the_worker_has_the_login_of_mlflow_as_a_client() -> None:
    """`apply` and `metrics` ask the Prefect server and the journals."""
    asking = {name for name in OURS if any("MLFLOW_TRACKING" in one for one in variables(name))}
    assert asking == {"worker"}


def test_secrets_reach_the_program_in_the_variable_that_it_reads(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("perennial:x\n")
    given = {"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "auth"), "SSL_CERT_FILE": "/etc/ssl/cert.pem", "A": "b"}
    found = with_secrets(given, tmp_path)
    assert found == {"PREFECT_API_AUTH_STRING": "perennial:x", "SSL_CERT_FILE": "/etc/ssl/cert.pem", "A": "b"}


def test_the_commands_of_perennial_parse() -> None:
    commands = [one["command"] for one in OURS.values() if one["command"][0] == "perennial"]
    assert len(commands) == 2
    for _, *arguments in commands:
        group = get_command(app)
        context = group.make_context("perennial", list(arguments), resilient_parsing=False)
        name, command, rest = group.resolve_command(context, context._protected_args + context.args)  # type: ignore[attr-defined]
        assert command is not None
        command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("name", ["prefect", "worker", "mlflow", "serving-a"])
def test_the_options_of_other_commands_exist(name: str) -> None:
    command = service(name)["command"]
    program = {"mlflow": [sys.executable, "-m", "mlflow", "server"], "serving-a": [sys.executable, "-m", "serving"]}
    verbs = command[: command.index(next(one for one in command if one.startswith("--")))]
    asked = program.get(name, [str(Path(sys.executable).with_name(verbs[0])), *verbs[1:]])
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    helped = subprocess.run([*asked, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert helped.returncode == 0, helped.stderr
    assert [one for one in command if one.startswith("--") and one not in helped.stdout] == []


def test_what_is_asked_for_its_health_listens_there() -> None:
    for name in ("prefect", "mlflow"):
        assert f":{port_of(name)}/" in variables(name)["PERENNIAL_HEALTH"]
    assert ":8080/" in variables("worker")["PERENNIAL_HEALTH"], "Prefect's own port for a worker's health"
    assert PrefectSettings().worker.webserver.port == 8080
    assert variables("metrics")["PERENNIAL_HEALTH"] == f"http://127.0.0.1:{port_of('metrics')}/favicon.ico"
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"PERENNIAL_HEALTH=http://127.0.0.1:{port_of('serving-a')}/" in dockerfile


def test_the_proxy_and_prometheus_ask_services_where_they_listen() -> None:
    ports = {name: port_of(name) for name in OURS} | {"grafana": "3000", "prometheus": "9090"}
    caddy = (ROOT / "deployments" / "compose" / "Caddyfile").read_text(encoding="utf-8")
    sources = (ROOT / "deployments" / "observability" / "grafana" / "datasources.yaml").read_text(encoding="utf-8")
    scraped = yaml.safe_load((OBSERVED / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target for job in scraped for config in job["static_configs"] for target in config["targets"]}
    asked = set(re.findall(r"(?:reverse_proxy|:\d+) ((?:[a-z-]+:\d+ ?)+)", caddy))
    upstreams = {one for text in asked for one in text.split()}
    assert upstreams >= {"serving-a:8080", "serving-b:8080", "prefect:4200", "mlflow:5000", "grafana:3000"}
    for one in (*upstreams, *targets, *re.findall(r"http://([a-z]+:\d+)", sources)):
        name, _, port = one.partition(":")
        assert ports[name] == port, one
    listening = set(re.findall(r"^:(\d+) \{", caddy, flags=re.M))
    assert {one.rsplit(":", 1)[1] for one in service("proxy")["ports"]} == listening


def metrics_that_exist() -> set[str]:
    written = [*OBSERVED.glob("*.py"), ROOT / "serving" / "metrics.py"]
    found = {f"perennial_{name}" for name in TOLD_OF_SERVICES}
    for path in written:
        text, prefix = path.read_text(encoding="utf-8"), "serving_" if path.name == "metrics.py" else ""
        for kind, name in re.findall(r'(?:\.add|_gauge|named)\(\s*(?:(\w+), )?"(\w+)"', text):
            tails = {"Counter": ["_total"], "Histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
            found |= {f"perennial_{prefix}{name}{tail}" for tail in tails}
        found |= {node.value for node in ast.walk(ast.parse(text)) if is_metric(node)}
    return found


def is_metric(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("perennial_")


@pytest.mark.parametrize("name", ["alerts.yaml", "grafana/perennial.json"])
def test_alerts_and_the_dashboard_ask_for_metrics_that_exist(name: str) -> None:
    loaded = yaml.safe_load((OBSERVED / name).read_text(encoding="utf-8"))
    asked = {metric for text in expressions(loaded) for metric in re.findall(r"perennial_\w+", text)}
    assert len(asked) > 8
    assert asked - metrics_that_exist() == set()


def expressions(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["expr"]] if "expr" in node else []
        return own + [one for value in node.values() for one in expressions(value)]
    return [one for value in node for one in expressions(value)] if isinstance(node, list) else []


def test_secrets_are_made_once_and_all_of_them(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_bytes((ROOT / "deployments" / "compose" / "make-secrets").read_bytes())
    script.chmod(0o755)
    subprocess.run([script], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    declared = {name: one["file"] for name, one in COMPOSE["secrets"].items()}
    assert set(made) == set(declared)
    assert all(value == f"./{SECRETS}{name}" for name, value in declared.items())
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    subprocess.run([script], check=True, capture_output=True)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made["postgres_password"].strip() in made["prefect_database"]
    from cryptography.fernet import Fernet

    Fernet(made["prefect_encryption_key"].strip())


def test_secrets_are_in_no_commit_and_in_no_image() -> None:
    assert SECRETS in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {SECRETS.rstrip("/"), "**/.env*", "**/*.pem", "**/*.key", "**/credentials*"} <= set(left_out)
