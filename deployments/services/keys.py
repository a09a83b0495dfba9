"""Credentials of the servers of an environment: those given to this process, else generated once and kept.

`run/keys.json` holds what was generated, readable by its owner alone. In dev there are none: its servers answer
on loopback to everybody on the machine.
"""

import base64
import json
import os
import secrets
from pathlib import Path

from blocks.secrets import saved_secret
from blocks.stack import connected, given_key, read_keys, run_folder
from perennial.settings import Settings

TOKENS = "PERENNIAL_SERVING_TOKENS"
"""Bearer tokens that open the online services, comma separated."""


def is_secured(settings: Settings) -> bool:
    """Say whether the servers of an environment ask who one is: everywhere but in dev."""
    return settings.environment != "dev"


def keys_of(settings: Settings) -> dict[str, str]:
    """Return the credentials of an environment by environment variable, generating and keeping those that are missing.

    What this process was given is used and never written down. Losing the encryption key makes every Secret block
    unreadable, and losing the MLflow password shuts its only administrator out: both outlive this machine where the
    databases do, and should then be given rather than generated.
    """
    if not is_secured(settings):
        return {}
    given = {name: text for name in _fresh_keys() if (text := given_key(name))}
    kept = read_keys(settings)
    generated = {name: value for name, value in _fresh_keys().items() if name not in given and name not in kept}
    if generated:
        _keep({**kept, **generated}, settings)
    return {**kept, **generated, **given}


def serving_tokens(settings: Settings) -> str:
    """Return the tokens that open the online services: the given ones, else those of the Secret block.

    Where there is none, outside dev one is generated and kept; in dev the services are open, on loopback alone.
    """
    kept = read_keys(settings)
    found = os.environ.get(TOKENS) or _saved(settings.serving_secret, settings) or kept.get(TOKENS, "")
    if found or not is_secured(settings):
        return found
    _keep({**kept, TOKENS: secrets.token_urlsafe(32)}, settings)
    return read_keys(settings)[TOKENS]


def storage_keys(settings: Settings) -> dict[str, str]:
    """Return those secrets of the environment that an online service needs and that can be found, by variable.

    It speaks to the storage alone; what is for Prefect and MLflow is not handed to it.
    """
    wanted = {name: block for name, block in settings.secrets.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
    found = {name: os.environ.get(name) or _saved(block, settings) for name, block in wanted.items()}
    return {name: value for name, value in found.items() if value}


def _saved(block: str, settings: Settings) -> str:
    if not block:
        return ""
    with connected(settings) as server:
        return saved_secret(block) if server else ""


def _keep(keys: dict[str, str], settings: Settings) -> None:
    write_private(run_folder(settings) / "keys.json", json.dumps(keys, indent=2))


def write_private(path: Path, text: str) -> None:
    """Write or replace a file at once, readable by its owner alone from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _fresh_keys() -> dict[str, str]:
    return {
        "PREFECT_API_AUTH_STRING": f"perennial:{secrets.token_urlsafe(32)}",
        "PREFECT_SERVER_ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "MLFLOW_TRACKING_USERNAME": "perennial",
        "MLFLOW_TRACKING_PASSWORD": secrets.token_urlsafe(32),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
    }
