"""The environments as files, and which of them is meant; it knows nothing of Prefect.

`PERENNIAL_ENV` names the environment (`dev` by default) and `PERENNIAL_<FIELD>` overrides one field of
it, as `PERENNIAL_STORAGE_ROOT` does; both are read here and nowhere else.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import ValidationError

from perennial.errors import Permanent, nearest
from perennial.settings import Settings

PROJECT = Path(__file__).resolve().parents[1]
_DOCUMENTS = Path(__file__).parent / "environments"
_PLACES = ("storage_root", "storage_endpoint", "mlflow_tracking_uri", "prefect_api_url")
"""Fields that no two environments share."""
_chosen: ContextVar[Settings | None] = ContextVar("settings", default=None)


class UnknownEnvironment(Permanent):
    """No document has that name."""


class InvalidEnvironment(Permanent):
    """A document, or what overrides it, does not fit."""


class AnothersPlace(Permanent):
    """What overrides where one environment keeps its things would be taken for another's."""


def environment_name() -> str:
    """Return the name of the environment that this process is in."""
    return os.environ.get("PERENNIAL_ENV") or "dev"


def environment_names() -> list[str]:
    """Return the names of the environments that have a document."""
    return sorted(path.stem for path in _DOCUMENTS.glob("*.yaml"))


def read_document(name: str) -> dict[str, Any]:
    """Read the document of an environment as it is written.

    Raises:
        UnknownEnvironment: There is none of that name.
    """
    if name not in environment_names():
        raise UnknownEnvironment(
            f"`{name}` is no environment{nearest(name, environment_names())}. "
            f"Expected one of {', '.join(f'`{one}`' for one in environment_names())} in `PERENNIAL_ENV`."
        )
    document: dict[str, Any] = yaml.safe_load((_DOCUMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return document


def enter(name: str) -> None:
    """Let this process, and those that it starts, be in an environment.

    Raises:
        UnknownEnvironment: There is none of that name.
        AnothersPlace: Variables say where the environment that it was in keeps its things.
    """
    read_document(name)
    _require_own_places(name)
    os.environ["PERENNIAL_ENV"] = name


def read_settings(name: str | None = None) -> Settings:
    """Return the settings of an environment, by default the one this process is in.

    Raises:
        AnothersPlace: Variables say where the environment that this process is in keeps its things.
    """
    document = read_document(name or environment_name())
    if name:
        _require_own_places(name)
    return settings_of(document)


def _require_own_places(name: str) -> None:
    """One environment never writes into another's storage because a shell still has its variables."""
    given = [one for field in _PLACES if os.environ.get(one := f"PERENNIAL_{field.upper()}")]
    if name != environment_name() and given:
        raise AnothersPlace(
            f"`{name}` is asked for, but this shell is in `{environment_name()}` (`PERENNIAL_ENV`, dev where it is not "
            f"set), and {', '.join(f'`{one}`' for one in given)} say where that one keeps its things. Set "
            f"`PERENNIAL_ENV={name}` with the places of `{name}`, or unset them."
        )


def neighbour_settings(name: str) -> Settings:
    """Return the settings of an environment that this process is not in, as where a model is promoted from.

    What overrides this process's own settings says nothing of it; `PERENNIAL_<NAME>_<FIELD>` does.
    """
    return settings_of(read_document(name), prefix=f"PERENNIAL_{name.upper()}_")


def settings_of(document: Mapping[str, Any], prefix: str = "PERENNIAL_") -> Settings:
    """Make settings of a document: with its overrides, and with folders resolved against the project.

    Args:
        document: The fields, as they are written.
        prefix: Of the variables that override them.

    Raises:
        InvalidEnvironment: A field is unknown, missing or of the wrong type.
    """
    try:
        settings = Settings.model_validate({**document, **_overrides(prefix)})
    except ValidationError as error:
        faults = "; ".join(f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in error.errors())
        raise InvalidEnvironment(
            f"The environment `{document.get('environment')}` is not valid: {faults}. Mend its document or the "
            f"variables `{prefix}<FIELD>` that override it."
        ) from None
    folders = {field: _resolve(getattr(settings, field)) for field in ("storage_root", "use_cases")}
    return settings.model_copy(update=folders)


@contextmanager
def using(settings: Settings) -> Iterator[None]:
    """Let everything below run with these settings, whatever the environment says."""
    token = _chosen.set(settings)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_settings() -> Settings | None:
    """Return what `using` chose, `None` outside of it."""
    return _chosen.get()


def _overrides(prefix: str) -> dict[str, Any]:
    fields = set(Settings.model_fields) - {"environment"}
    given = {field: os.environ.get(f"{prefix}{field.upper()}", "") for field in fields}
    return {field: _written(field, text) for field, text in given.items() if text}


def _written(field: str, text: str) -> Any:
    """Lists and sections are written in a variable as in a document, such as `[slack-webhook/alerts]`."""
    if get_origin(Settings.model_fields[field].annotation) not in (tuple, dict):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # which the field refuses by its own name


def _resolve(place: str) -> str:
    return place if "://" in place else str(PROJECT / place)
