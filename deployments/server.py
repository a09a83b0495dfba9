"""The Prefect server of an environment: which one it is, whether it is the one that is meant, and a client of it."""

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from blocks.stack import connected, named_by
from perennial.errors import Permanent, Transient
from perennial.settings import Settings, without_login

_OF_A_SERVER = (401, 403, 429)
"""Statuses by which a Prefect server, or what guards it, refuses whoever asks."""


class NoServerKnown(Permanent):
    """Nothing says where the server of the environment is."""


class ServerAway(Transient):
    """The server does not answer, or only that it cannot."""


class NoPrefectThere(Permanent):
    """Something else answers at the address of the server."""


class NotAllowed(Permanent):
    """The server asks for a credential that this process has not got."""


class AnothersServer(Permanent):
    """The server belongs to another environment, and only a variable of the shell says that it is meant."""


def require_meant(settings: Settings, environments: Set[str]) -> None:
    """Refuse a server of other environments that only `PREFECT_API_URL` names, as a shell may have it from before.

    Args:
        settings: The environment that is asked for.
        environments: Those that were applied to the server. One without any is taken: it is new.

    Raises:
        AnothersServer: There are others, and not this one.
    """
    name, address = settings.environment, os.environ.get("PREFECT_API_URL")
    if settings.prefect_api_url or not address or not environments or name in environments:
        return
    others = ", ".join(f"`{one}`" for one in sorted(environments))
    address = without_login(address)
    raise AnothersServer(
        f"The Prefect server at {address}, which {named_by(settings)} names, is that of {others}, and `{name}` was "
        f"never applied to it. Nothing was changed. Unset the variable, or let it name the server of `{name}`; where "
        f"both shall share this one, say so: `PERENNIAL_ENV={name} PERENNIAL_PREFECT_API_URL={address}`, or "
        f"`prefect_api_url` in blocks/environments/{name}.yaml."
    )


def unguarded(settings: Settings, address: str) -> str:
    """Say that a server asks nobody who they are; empty where it does, and in dev, where it listens on loopback."""
    address = without_login(address)
    if settings.environment == "dev" or not httpx.get(f"{address}/admin/version", timeout=10).is_success:
        return ""
    return (
        f"The Prefect server at {address} asks nobody for a password: whoever reaches it can run code as the worker of "
        f"`{settings.environment}`. Start it with `PREFECT_SERVER_API_AUTH_STRING`."
    )


@contextmanager
def server_of(settings: Settings) -> Iterator[SyncPrefectClient]:
    """Yield a client of the environment's server; Prefect's own functions below speak to the same.

    It is the one that the environment's document names, else `PREFECT_API_URL`, else the one that `perennial up`
    started here.

    Raises:
        NoServerKnown: None of them names one.
        ServerAway: It does not answer, or with a fault of its own (5xx).
        NoPrefectThere: Something answers that is no Prefect API.
        NotAllowed: It asks for a credential.
    """
    with connected(settings) as found:
        if not found:
            raise NoServerKnown(
                f"Nothing says where the Prefect server of `{settings.environment}` is. Run `perennial up` to start "
                "one on this machine, or name one: by the variable `PREFECT_API_URL`, or by `prefect_api_url` in "
                f"blocks/environments/{settings.environment}.yaml."
            )
        with _telling_of_trouble(found):
            _require_prefect(found)  # at once, where Prefect tries for a minute
            with get_client(sync_client=True) as client:
                client.request("GET", "/admin/version")
                yield client


def _require_prefect(address: str) -> None:
    answer = httpx.get(f"{address}/health", timeout=10)
    if answer.status_code in _OF_A_SERVER or answer.is_server_error:
        answer.raise_for_status()
    with suppress(ValueError):
        if answer.is_success:
            answer.json()
            return
    raise NoPrefectThere(
        f"There is no Prefect API at {without_login(address)}: `/health` answered {answer.status_code}, expected 200 "
        "with JSON. Correct the address (`PREFECT_API_URL` or `prefect_api_url`); it ends in /api."
    )


@contextmanager
def _telling_of_trouble(address: str) -> Iterator[None]:
    address = without_login(address)
    try:
        yield
    except httpx.TransportError as error:
        raise ServerAway(
            f"The Prefect server at {address} does not answer ({error or type(error).__name__}). Start it, or correct "
            "the address."
        ) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or error.response.is_server_error:
            raise ServerAway(f"The Prefect server at {address} cannot answer ({status}); its log says why.") from None
        if status not in (401, 403):
            raise
        raise NotAllowed(
            f"The Prefect server at {address} asks for a credential. Set `PREFECT_API_AUTH_STRING` to the "
            "`user:password` that it was started with."
        ) from None
