"""Secrets that flows need and their process lacks, read from Secret blocks; no message here holds a value."""

import os

from perennial.errors import Permanent
from perennial.settings import Settings


class MissingSecret(Permanent):
    """A value that the document of the environment asks for is neither in a variable nor in a Secret block."""


def missing_secrets(settings: Settings) -> dict[str, str]:
    """Return the environment variables that this process lacks, each with the Secret block that should hold it."""
    return {name: block for name, block in settings.secrets.items() if not os.environ.get(name)}


def load_secrets(settings: Settings) -> None:
    """Set the environment variables that this process lacks from the Secret blocks that the settings name.

    A variable that is set is left alone. They are set for the libraries that read them (AWS, MLflow), here and in
    child processes, and stay set.

    Raises:
        MissingSecret: A block does not exist, cannot be read or is empty; the message names the variable and the
            block, never a value.
    """
    for name, block in missing_secrets(settings).items():
        os.environ[name] = _read(name, block, settings.environment)


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
