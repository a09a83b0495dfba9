"""How each service is started: its command, its environment and where it will answer; it starts nothing.

Secrets and addresses of databases are handed over in the environment, never in a command, which everybody on the
machine can read.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from blocks.local import prefect_home
from blocks.private_server import make_home, server_environment
from blocks.stack import MLFLOW, PREFECT, WORKER, run_folder, serving_name
from deployments.services.errors import MissingDatabase
from deployments.services.inherited import ONLINE, SERVER_OF_MLFLOW, SERVER_OF_PREFECT, inherited, of_worker
from deployments.services.keys import TOKENS, is_secured, keys_of, serving_tokens, storage_keys, write_private
from perennial.digests import digest_json
from perennial.model.mlflow_client import tracking_uri
from perennial.settings import Settings
from perennial.use_case import UseCase

_QUICK = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}
"""Prefect records three times as many task runs a second with these as by default."""
_LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
"""Slots of concurrency limits are given back also when the server was killed."""
_PAGES = "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"


@dataclass(frozen=True)
class Launch:
    """A process that is to run."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    address: str = ""
    uses: tuple[str, ...] = ()


def prefect_launch(settings: Settings, host: str, port: int) -> Launch:
    """Return how the Prefect server of an environment is started.

    It keeps its runs in SQLite below the storage root in dev, else in the database that
    `PREFECT_SERVER_DATABASE_CONNECTION_URL` names. Browsers may only talk to it from its own pages: an API that
    starts runs would otherwise obey every web page that is open on this machine.

    Raises:
        MissingDatabase: The variable is not set.
    """
    home, address = prefect_home(settings), f"http://{host}:{port}"
    variables = {
        **server_environment(home),
        **_QUICK,
        **_LEASES,
        _PAGES: _with_given(address, _PAGES, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"),
    }
    if is_secured(settings):
        keys = keys_of(settings)
        database = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
        variables |= {
            database: _needed(settings, database, "postgresql+asyncpg://user:password@host:5432/prefect"),
            "PREFECT_SERVER_API_AUTH_STRING": keys["PREFECT_API_AUTH_STRING"],
            "PREFECT_API_AUTH_STRING": keys["PREFECT_API_AUTH_STRING"],
            "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_SERVER_ENCRYPTION_KEY": keys["PREFECT_SERVER_ENCRYPTION_KEY"],
        }
    make_home(home)
    command = (sys.executable, "-m", "deployments.services.prefect_server", "--host", host, "--port", str(port))
    return Launch(PREFECT, command, inherited(SERVER_OF_PREFECT) | variables, address)


def mlflow_launch(settings: Settings, host: str, port: int) -> Launch:
    """Return how the MLflow server of an environment is started: one process that runs no jobs.

    Experiments keep their artifacts below the storage root. In a folder clients read and write them themselves: what
    was written through the server is then also readable without it. In an object store the server alone does, so that
    whoever may log in needs no keys of the store.

    Raises:
        MissingDatabase: `MLFLOW_BACKEND_STORE_URI` is not set outside dev.
    """
    address = f"http://{host}:{port}"
    variables = {
        "MLFLOW_BACKEND_STORE_URI": _registry_database(settings),
        **_artifacts(settings),
        "MLFLOW_SERVER_ALLOWED_HOSTS": _with_given(_hosts(host, port), "MLFLOW_SERVER_ALLOWED_HOSTS"),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": _with_given(address, "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    command = [sys.executable, "-m", "deployments.services.mlflow_server", "--host", host, "--port", str(port)]
    command += ["--workers", "1"]
    if is_secured(settings):
        variables |= _logins(settings)
        command += ["--app-name", "basic-auth"]
    return Launch(MLFLOW, tuple(command), inherited(SERVER_OF_MLFLOW) | variables, address)


def worker_launch(settings: Settings, api: str, registry: str) -> Launch:
    """Return how a worker of the environment's pool is started.

    It asks for work every second. Its runs have a lower priority than the online services on the same cores, so that
    a training keeps nobody waiting. SIGINT and SIGQUIT are made deadly again: a process that was started in the
    background ignores them, and its worker would then never stop.
    """
    variables = {
        **keys_of(settings),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",  # of `python` in runs
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(prefect_home(settings)),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PERENNIAL_ENV": settings.environment,
        "PERENNIAL_STORAGE_ROOT": settings.storage_root,
        "PERENNIAL_USE_CASES": settings.use_cases,
        **({"PERENNIAL_MLFLOW_TRACKING_URI": registry} if registry else {}),
        "DO_NOT_TRACK": "1",
    }
    command = ["nice", "-n", "5", "env", "--default-signal=INT,QUIT"]
    command += [sys.executable, "-m", "prefect", "worker", "start"]
    command += ["--pool", pool_name(settings), "--name", worker_name(settings)]
    return Launch(WORKER, tuple(command), of_worker(variables), uses=(api, registry, settings.work_pool))


def serving_launch(settings: Settings, use_case: UseCase, host: str, port: int, replicas: int) -> Launch:
    """Return how the online service of a use case is started: one supervisor with its replicas behind one address.

    It is started anew by the next `perennial up` when the declaration of the use case, its tokens or the number of
    replicas changed; a new release it takes on by itself.
    """
    tokens = serving_tokens(settings)
    variables = {
        **storage_keys(settings),
        "PERENNIAL_ENV": settings.environment,
        "PERENNIAL_STORAGE_ROOT": settings.storage_root,
        "PERENNIAL_STORAGE_ENDPOINT": settings.storage_endpoint,
        "PERENNIAL_USE_CASES": settings.use_cases,
        TOKENS: tokens,
    }
    command = (sys.executable, "-m", "serving", use_case.slug, "--host", host, "--port", str(port))
    return Launch(
        serving_name(use_case.slug),
        (*command, "--replicas", str(replicas)),
        inherited(ONLINE) | variables,
        f"http://{host}:{port}",
        uses=(str(replicas), digest_json([use_case.model_dump(mode="json"), variables])),
    )


def pool_name(settings: Settings) -> str:
    """Return the name of the environment's work pool."""
    return f"perennial-{settings.environment}"


def worker_name(settings: Settings) -> str:
    """Return the name under which this machine's worker is known to the server."""
    return f"{os.uname().nodename}-{settings.environment}"


def _registry_database(settings: Settings) -> str:
    if is_secured(settings):
        return _needed(settings, "MLFLOW_BACKEND_STORE_URI", "postgresql://user:password@host:5432/mlflow")
    return tracking_uri(settings)


def _needed(settings: Settings, name: str, example: str) -> str:
    if not os.environ.get(name):
        raise MissingDatabase(
            f"`{settings.environment}` keeps its runs and models in PostgreSQL, but `{name}` is not set. Set it in the "
            f"environment of this command, as {example}; only dev brings databases of its own."
        )
    return os.environ[name]


def _artifacts(settings: Settings) -> dict[str, str]:
    place = f"{_root(settings)}/mlflow/artifacts"
    if "://" not in place:
        return {"MLFLOW_SERVE_ARTIFACTS": "false", "MLFLOW_DEFAULT_ARTIFACT_ROOT": place}
    endpoint = {"MLFLOW_S3_ENDPOINT_URL": settings.storage_endpoint} if settings.storage_endpoint else {}
    return {"MLFLOW_SERVE_ARTIFACTS": "true", "MLFLOW_ARTIFACTS_DESTINATION": place, **endpoint}


def _root(settings: Settings) -> str:
    return settings.storage_root if "://" in settings.storage_root else str(Path(settings.storage_root).resolve())


def _with_given(own: str, *names: str) -> str:
    """Add what the environment of this command allows, as the name under which a proxy is known."""
    return ",".join([own, *(os.environ[name] for name in names if os.environ.get(name))])


def _hosts(host: str, port: int) -> str:
    return ",".join(f"{name}:{port}" for name in dict.fromkeys((host, "localhost", "127.0.0.1")))


def _logins(settings: Settings) -> dict[str, str]:
    """Write what MLflow reads only from a file, and return where it is; passwords are checked once a minute."""
    keys, path = keys_of(settings), run_folder(settings) / "mlflow-auth.ini"
    database = os.environ.get("MLFLOW_AUTH_DATABASE_URI") or _registry_database(settings)
    lines = [
        "[mlflow]",
        "default_permission = NO_PERMISSIONS",
        f"database_uri = {database.replace('%', '%%')}",
        "auth_cache_ttl_seconds = 60",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
    ]
    write_private(path, "\n".join(lines) + "\n")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(path),
        "MLFLOW_AUTH_ADMIN_USERNAME": keys["MLFLOW_TRACKING_USERNAME"],
        "MLFLOW_AUTH_ADMIN_PASSWORD": keys["MLFLOW_TRACKING_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": keys["MLFLOW_FLASK_SERVER_SECRET_KEY"],
    }
