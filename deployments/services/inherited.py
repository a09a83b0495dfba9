"""Which variables of `perennial up` a service is given: what every process needs, and what is for this one by name.

A service that other machines ask, or that runs what other people wrote, has no use for the secrets of the others.
"""

import os

SERVER_OF_PREFECT = ("PREFECT_", "PG")
SERVER_OF_MLFLOW = ("MLFLOW_", "AWS_", "PG")
ONLINE = ("PERENNIAL_SERVING_", "PERENNIAL_REVISION", "AWS_")

_EVERY = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LC_", "XDG_"),
    *("PYTHON", "VIRTUAL_ENV", "LD_", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "DO_NOT_TRACK"),
    *("SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
"""Names, or how they begin; proxies are written in either case."""
_NEVER = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "MLFLOW_TRACKING_URI")
"""Would point a process at another server than that of its stack."""
_OF_SERVERS = (
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_ENCRYPTION_KEY",
    "MLFLOW_AUTH_DATABASE_URI",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "PERENNIAL_EMAIL",
    "PERENNIAL_SERVING_TOKENS",
    "PERENNIAL_SLACK_WEBHOOK",
)


def inherited(own: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of this process that a service is given.

    Args:
        own: Beginnings of the names of those that are for it.
    """
    wanted = (*_EVERY, *own)
    return {name: value for name, value in os.environ.items() if name.upper().startswith(wanted) and name not in _NEVER}


def of_worker(variables: dict[str, str]) -> dict[str, str]:
    """Return all variables for a worker but the secrets of the servers: use cases name variables of their own.

    It hands all of Prefect's variables that it has to its runs, where containers show them.

    Args:
        variables: What it is given beside those of this process.
    """
    there = {name: value for name, value in os.environ.items() if name not in _NEVER}
    return {name: value for name, value in (there | variables).items() if name not in _OF_SERVERS}
