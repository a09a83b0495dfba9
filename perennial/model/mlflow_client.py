"""The door to MLflow: its address, a quiet client, and its failures as errors of ours.

It knows no models; `registry` says what is kept there.
"""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perennial.errors import Permanent, Transient
from perennial.settings import Settings, without_login

_SQLITE = "sqlite:///"
_CREATING = 0x7065726E
"""Number of the advisory lock in PostgreSQL below which tables are created."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


class RegistryUnavailable(Transient):
    """The tracking server did not answer, or could not work."""


class RegistryRefused(Permanent):
    """The tracking server answered, and said no."""


class NoRegistry(Permanent):
    """An object store as storage root needs a tracking server, because SQLite needs a disk."""


def tracking_uri(settings: Settings) -> str:
    """Return the address of the registry: the declared server, or a SQLite file below a local storage root.

    Raises:
        NoRegistry: The storage root is no local folder and no address is declared, or it is that of a database.
    """
    declared = settings.mlflow_tracking_uri
    if declared and not declared.startswith(("http://", "https://", _SQLITE)):
        raise NoRegistry(
            f"`mlflow_tracking_uri` of `{settings.environment}` is a `{urlsplit(declared).scheme}` address. Expected "
            "the http(s) address of an MLflow server: the address of a database would carry its password."
        )
    if declared:
        return declared
    if "://" in settings.storage_root:
        raise NoRegistry(
            f"Environment `{settings.environment}` keeps its things in `{settings.storage_root}`, where no SQLite file "
            "can be. Set `mlflow_tracking_uri` to the address of an MLflow server."
        )
    return f"{_SQLITE}{Path(settings.storage_root).resolve()}/mlflow/mlflow.db"


def shown_uri(settings: Settings) -> str:
    """Return the address of the registry without user and password."""
    return without_login(tracking_uri(settings))


@contextmanager
def registry_client(settings: Settings) -> Iterator[Any]:
    """Open an `MlflowClient`, whose tables exist, and turn its failures into errors that say whether to retry.

    Raises:
        RegistryUnavailable: No answer, 408, 429 or 5xx: a server that is away, or a database that is locked.
        RegistryRefused: Any other answer, such as 401 or 404.
    """
    mlflow = _quiet_mlflow()
    try:
        uri = tracking_uri(settings)
        if uri.startswith(_SQLITE):
            create_tables(uri)
        if settings.storage_endpoint:  # where the server does not hand artifacts through, clients go there themselves
            os.environ.setdefault("MLFLOW_S3_ENDPOINT_URL", settings.storage_endpoint)
        yield mlflow.MlflowClient(uri, uri)
    except mlflow.MlflowException as error:
        raise _explained(error.get_http_status_code(), error.message, settings) from error
    except Exception as error:
        if not type(error).__module__.startswith("sqlalchemy."):  # which MLflow lets through while it opens a database
            raise
        status = 503 if type(error).__name__ == "OperationalError" else 400
        raise _explained(status, str(error).splitlines()[0], settings) from error


def create_tables(uri: str) -> None:
    """Create the tables of a registry's database, unless they exist, while nobody else may.

    Of several that create them at once in PostgreSQL all but one end with an error; a SQLite file breaks for good.

    Raises:
        RegistryUnavailable: PostgreSQL did not answer.
    """
    if uri.startswith(_SQLITE):
        _create_tables_once(Path(uri.removeprefix(_SQLITE)))
    elif uri.startswith("postgresql"):
        _create_tables_in_turn(uri)


def unless_there(create: Any, *args: Any, **kwargs: Any) -> None:
    """Create something in MLflow, or leave it as it is if it exists."""
    _tolerating("RESOURCE_ALREADY_EXISTS", create, *args, **kwargs)


def unless_gone(delete: Any, *args: Any) -> None:
    """Delete something in MLflow, or do nothing if somebody else did."""
    _tolerating("RESOURCE_DOES_NOT_EXIST", delete, *args)


def _tolerating(code: str, change: Any, *args: Any, **kwargs: Any) -> None:
    mlflow = _quiet_mlflow()
    try:
        change(*args, **kwargs)
    except mlflow.MlflowException as error:
        if error.error_code != code:
            raise


def _quiet_mlflow() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _create_tables_once(database: Path) -> None:
    """Two processes that create the tables at once break the database for good, and so does one killed half-way."""
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database.exists():
            return
        unfinished = database.with_name(f"{database.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        _open_stores(f"{_SQLITE}{unfinished}")
        unfinished.rename(database)


def _create_tables_in_turn(uri: str) -> None:
    import psycopg2

    try:
        waiting = psycopg2.connect(re.sub(r"^postgresql\+\w+", "postgresql", uri))
    except psycopg2.OperationalError as error:
        said = (str(error).splitlines() or ["no answer"])[0]
        raise RegistryUnavailable(f"The database of the model registry did not answer: {said}. Try again.") from None
    with closing(waiting), waiting, waiting.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATING])
        cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")  # written last, with all tables before it
        if cursor.fetchone() == (False,):
            _open_stores(uri)


def _open_stores(uri: str) -> None:
    client = _quiet_mlflow().MlflowClient(uri, uri)
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


def _explained(status: int, said: str, settings: Settings) -> Permanent | Transient:
    where = shown_uri(settings)
    said = said.replace(tracking_uri(settings), where).rstrip(".")
    if status < 500 and status not in (408, 429):
        return RegistryRefused(f"The model registry `{where}` refused: {said}.")
    return RegistryUnavailable(
        f"The model registry `{where}` could not answer: {said}. Nothing is lost: the models and the journal are in "
        f"`{settings.storage_root}`, and doing this again goes on from there."
    )
