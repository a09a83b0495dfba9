"""Starts what a container is for, with the secrets that are mounted as files in the variables that programs read.

`NAME_FILE=/run/secrets/name` becomes `NAME` with the content of that file, so that no secret stands in the settings
of the container, which everybody who may ask the engine can see.
"""

import os
import sys
from pathlib import Path

SECRETS = Path("/run/secrets")
_SUFFIX = "_FILE"


def with_secrets(variables: dict[str, str], folder: Path = SECRETS) -> dict[str, str]:
    """Return variables with those that name a file of the secrets folder replaced by its content.

    Raises:
        OSError: A file cannot be read.
    """
    named = {name: Path(value) for name, value in variables.items() if name.endswith(_SUFFIX)}
    secret = {name: path for name, path in named.items() if path.parent == folder}
    rest = {name: value for name, value in variables.items() if name not in secret}
    return rest | {name.removesuffix(_SUFFIX): path.read_text().strip() for name, path in secret.items()}


if __name__ == "__main__":
    command = sys.argv[1:]
    try:
        os.execvpe(command[0], command, with_secrets(dict(os.environ)))  # noqa: S606
    except OSError as error:
        sys.exit(
            f"`{error.filename}` cannot be used: {error.strerror}. Is the secret there, and may uid 10001 read it?"
        )
