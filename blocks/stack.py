"""The services that `perennial up` started for an environment on this machine, as `run/stack.json` tells them.

It starts and stops nothing, which is the business of `deployments.services`, and imports no Prefect. A process
counts as ours only while its pid and its birth are those on record, so that a reused pid never does.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from blocks.documents import PROJECT
from perennial.errors import Permanent
from perennial.settings import Settings

PREFECT, MLFLOW, WORKER = "prefect", "mlflow", "worker"
_SERVE = "serve-"
"""Before the slug, in the name of an online service."""
_CLOCK_STEP = 1.0
"""Seconds by which a process seems younger or older after the clock of the machine was set."""
_START_TIME = 22 - 3
"""Place of the start time in `/proc/<pid>/stat`: its 22nd field, of those from the third on (`proc(5)`)."""


class BrokenRecord(Permanent):
    """A file below the run folder is not what this version of Perennial wrote."""


class Service(BaseModel):
    """One process of the stack, and where it answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    created: float
    """Seconds since 1970, as the operating system tells it: it moves when the clock of the machine is set."""
    born: str = ""
    """As `birth` tells it; empty in records of earlier versions and where there is none, and `created` counts."""
    address: str = ""
    """Its URL without a path; empty for a worker."""
    uses: tuple[str, ...] = ()
    """What it was started with, as addresses: when that changes it has to start again."""
    log: str

    @property
    def use_case(self) -> str | None:
        """The slug that an online service answers for; `None` of a service that is none."""
        return self.name.removeprefix(_SERVE) if self.name.startswith(_SERVE) else None

    @property
    def port(self) -> int:
        """Where on its host it answers; 0 of a worker."""
        return int(self.address.rpartition(":")[2] or 0)

    @property
    def process(self) -> psutil.Process | None:
        """The process while it runs; `None` when it has ended or when its pid belongs to another."""
        try:
            found = psutil.Process(self.pid)
            is_ours = birth(self.pid) == self.born if self.born else self._is_as_old(found)
            return found if is_ours and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def _is_as_old(self, found: psutil.Process) -> bool:
        return bool(abs(found.create_time() - self.created) < _CLOCK_STEP)


class Stack(BaseModel):
    """What was started for one environment, by name of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    services: dict[str, Service] = {}

    def running(self, name: str) -> Service | None:
        """Return a service while its process runs."""
        service = self.services.get(name)
        return service if service and service.process else None


def birth(pid: int) -> str:
    """Return the boot and the clock tick after it in which a process began, which no change of the clock moves.

    Empty where there is no such process, and on an operating system that does not tell it (`proc(5)`).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        told = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # from the third field on
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return f"{boot}/{int(told[_START_TIME])}"


def serving_name(slug: str) -> str:
    """Return the name of the online service of a use case."""
    return _SERVE + slug


def own_folder(settings: Settings, name: str) -> Path:
    """Return a folder of this machine for an environment: below the storage root where that is a folder."""
    if "://" in settings.storage_root:
        return PROJECT / ".perennial" / settings.environment / name
    return Path(settings.storage_root).resolve() / name


def run_folder(settings: Settings) -> Path:
    """Return the folder with what concerns running processes: pids, generated keys and logs."""
    return own_folder(settings, "run")


def read_stack(settings: Settings) -> Stack:
    """Return what is on record, with no service when nothing is.

    Raises:
        BrokenRecord: The file cannot be read.
    """
    path = run_folder(settings) / "stack.json"
    try:
        return Stack.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Stack(environment=settings.environment)
    except ValidationError as error:
        raise BrokenRecord(
            f"`{path}` is no record of services: {error.error_count()} of its fields do not fit. Stop what may still "
            "run by hand (`ps x`), remove the file, and run `perennial up`."
        ) from None


def read_keys(settings: Settings) -> dict[str, str]:
    """Return the credentials that were generated for the stack, by environment variable; empty in dev."""
    try:
        keys: dict[str, str] = json.loads((run_folder(settings) / "keys.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return keys


def given_key(name: str) -> str:
    """Return the value of a credential that this process was given, also under the name that the server knows it by."""
    same = {"PREFECT_API_AUTH_STRING": "PREFECT_SERVER_API_AUTH_STRING"}.get(name, name)
    return os.environ.get(same) or os.environ.get(name, "")


def running_address(settings: Settings) -> str | None:
    """Return the URL of the Prefect API of the running stack, `None` when no server of it runs."""
    server = read_stack(settings).running(PREFECT)
    return f"{server.address}/api" if server else None


def stack_variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables of a process that uses the running stack; empty when no server of it runs."""
    address = running_address(settings)
    if address is None:
        return {}
    names = ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    keys = {name: value for name, value in read_keys(settings).items() if name in names}
    given = {name: value for name in names if (value := given_key(name))}
    registry = read_stack(settings).running(MLFLOW)
    place = {"PERENNIAL_MLFLOW_TRACKING_URI": registry.address} if registry else {}
    return {"PREFECT_API_URL": address, **place, **keys, **given}


def with_registry(settings: Settings) -> Settings:
    """Return the settings with the MLflow server of the running stack, unless they name one."""
    registry = read_stack(settings).running(MLFLOW)
    if registry is None or settings.mlflow_tracking_uri:
        return settings
    return settings.model_copy(update={"mlflow_tracking_uri": registry.address})


def known_address(settings: Settings) -> str | None:
    """Return the API of the environment's server: the declared one, else `PREFECT_API_URL`, else the running stack."""
    return settings.prefect_api_url or os.environ.get("PREFECT_API_URL") or running_address(settings)


def named_by(settings: Settings) -> str:
    """Say what names the server of an environment, in the order of `known_address`."""
    if settings.prefect_api_url:
        return "`prefect_api_url` of the environment"
    return "the variable `PREFECT_API_URL`" if os.environ.get("PREFECT_API_URL") else "`perennial up`"


@contextmanager
def connected(settings: Settings) -> Iterator[str | None]:
    """Let the clients of Prefect and MLflow below speak to the running stack; yields the address of its API.

    Where the environment's document names a server (`prefect_api_url`), that one is meant; else the one that
    `PREFECT_API_URL` names, and nothing is changed; where nothing runs, neither.
    """
    if settings.prefect_api_url:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: settings.prefect_api_url}):
            yield settings.prefect_api_url
        return
    variables = {} if os.environ.get("PREFECT_API_URL") else stack_variables(settings)
    if not variables:
        yield os.environ.get("PREFECT_API_URL")
        return
    from prefect import settings as names

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        if name in variables:
            os.environ.setdefault(name, variables[name])
    own = {names.PREFECT_API_URL: variables["PREFECT_API_URL"]}
    if "PREFECT_API_AUTH_STRING" in variables:
        own[names.PREFECT_API_AUTH_STRING] = variables["PREFECT_API_AUTH_STRING"]
    with names.temporary_settings(own):
        yield variables["PREFECT_API_URL"]
