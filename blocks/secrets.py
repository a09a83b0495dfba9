"""Secrets that flows need: read from Secret blocks where their process lacks them, and kept out of every error.

Prefect shows the text of an error in logs, states and the database, so that is where a value would leak.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from perennial.errors import PerennialError, Permanent, Transient
from perennial.settings import Settings

_SECRET = {
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PERENNIAL_EMAIL",
    "PERENNIAL_SERVING_TOKENS",
    "PERENNIAL_SLACK_WEBHOOK",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
}
"""Variables whose values are secrets wherever they come from; `know_secrets` adds those that documents name."""
_WITH_PASSWORD = (
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "MLFLOW_AUTH_DATABASE_URI",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_TRACKING_URI",
    "PERENNIAL_EMAIL",
)
_NAMES_SOMEBODY = ("_ID", "_USER", "_USERNAME")
"""Ends of variables that say who one is, which is in many texts and no secret."""
_SHORTEST = 6
"""Shorter values are words that stand everywhere, and no secrets."""
_HIDDEN = "********"


class MissingSecret(Permanent):
    """A value that the document of the environment asks for is neither in a variable nor in a Secret block."""


def missing_secrets(settings: Settings) -> dict[str, str]:
    """Return the environment variables that this process lacks, each with the Secret block that should hold it."""
    return {name: block for name, block in settings.secrets.items() if not os.environ.get(name)}


def know_secrets(settings: Settings) -> None:
    """Count the variables that the settings name among those whose values nobody is told."""
    _SECRET.update(name for name in settings.secrets if not name.endswith(_NAMES_SOMEBODY))


def load_secrets(settings: Settings) -> None:
    """Set the environment variables that this process lacks from the Secret blocks that the settings name.

    A variable that is set is left alone. They are set for the libraries that read them (AWS, MLflow), here and in
    child processes, and stay set.

    Raises:
        MissingSecret: A block does not exist, cannot be read or is empty; the message names the variable and the
            block, never a value.
    """
    know_secrets(settings)
    for name, block in missing_secrets(settings).items():
        os.environ[name] = _read(name, block, settings.environment)


def saved_secret(block: str) -> str:
    """Return the value of a Secret block, an empty text where there is none or it cannot be read."""
    from prefect.blocks.system import Secret

    try:
        found: object = Secret.load(block).get()  # type: ignore[union-attr]
    except Exception:
        return ""
    return found if isinstance(found, str) else ""


@contextmanager
def keeping_secrets() -> Iterator[None]:
    """Let no error leave with the value of a secret in its text or in that of an error behind it.

    An error of Perennial stays the same one with the values replaced. Any other becomes one that names it: what
    libraries keep inside their errors cannot be known.
    """
    try:
        yield
    except Exception as error:
        if not _holds_secret("".join(traceback.format_exception(error))):
            raise
        raise _censored(error) from None


def redacted(text: str) -> str:
    """Return a text with the values of all secrets that this process knows replaced."""
    for value in _values():
        text = text.replace(value, _HIDDEN)
    return text


def _censored(error: Exception) -> Exception:
    if isinstance(error, PerennialError):
        error.args = tuple(redacted(one) if isinstance(one, str) else one for one in error.args)
        error.__cause__ = error.__context__ = None
        if not _holds_secret("".join(traceback.format_exception(error))):
            return error
    kind = Transient if isinstance(error, Transient) else Permanent
    return kind(f"{type(error).__name__}: {redacted(str(error))}")


def _holds_secret(text: str) -> bool:
    return any(value in text for value in _values())


def _values() -> list[str]:
    """Return the values of all secrets that this process knows, the longest first."""
    values = [os.environ.get(name, "") for name in _SECRET]
    values += [part for value in values for part in (value.partition(":")[2], *value.split(","))]
    for name in _WITH_PASSWORD:
        password = urlsplit(os.environ.get(name, "")).password or ""
        values += [password, unquote(password)]
    return sorted({one for one in values if len(one) >= _SHORTEST}, key=len, reverse=True)


def _read(name: str, block: str, environment: str) -> str:
    from prefect.blocks.system import Secret

    try:
        found: object = Secret.load(block).get()  # type: ignore[union-attr]
    except Exception as error:
        raise _missing(name, block, environment, f"cannot be read ({type(error).__name__})") from None
    if not isinstance(found, str) or not found:
        raise _missing(name, block, environment, "is empty or no text")
    return found


def _missing(name: str, block: str, environment: str, why: str) -> MissingSecret:
    return MissingSecret(
        f"`{environment}` needs `{name}`, which is not set in the environment of this process, and the Secret block "
        f"`{block}` {why}. Set the variable, or save the block: "
        f"`prefect block create secret` or in the UI under Blocks, named `{block}`."
    )
