"""`perennial serve`: how the online service of one use case is started by itself, and what keeps it from starting."""

from blocks.documents import environment_name
from deployments.services.errors import NotServed, PortTaken, TokensMissing
from deployments.services.keys import TOKENS, serving_tokens
from deployments.services.launches import Launch, serving_launch
from deployments.services.ports import is_free, who_listens
from perennial.settings import Settings
from perennial.workspace import Workspace

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def alone(workspace: Workspace, host: str | None, port: int | None, replicas: int | None) -> Launch:
    """Return how the service of a use case is started, with what the environment declares where nothing is given.

    Raises:
        NotServed: The use case declares no `serving`.
        TokensMissing: It would be open to other machines.
        PortTaken: Something else listens there.
    """
    settings, use_case = workspace.settings, workspace.use_case
    if use_case.serving is None:
        raise NotServed(
            f"`{use_case.slug}` only scores batches: it declares no `serving`. Add `serving: {{}}` to "
            f"{use_case.folder / 'use_case.yaml'}; docs/serving.md says what can be declared there."
        )
    where, number = host or settings.serving_host, port or settings.serving_port
    require_tokens(settings, where)
    if not is_free(where, number):
        raise PortTaken(
            f"Nothing can listen on {where}:{number}: {who_listens(number)} does. Stop that (by `perennial down`, if "
            "`perennial up` started it), or choose another `--port`."
        )
    return serving_launch(settings, use_case, where, number, replicas or settings.serving_replicas)


def require_tokens(settings: Settings, host: str) -> None:
    """See that a service which other machines can reach asks for a token.

    Raises:
        TokensMissing: It would not.
    """
    if host not in LOOPBACK and not serving_tokens(settings):
        raise TokensMissing(
            f"On {host} other machines could ask the service, and in `{environment_name()}` it has no tokens. Set "
            f"`{TOKENS}` (comma separated; `openssl rand -base64 32` makes one), name a Secret block in "
            "`serving_secret`, or listen on 127.0.0.1."
        )
