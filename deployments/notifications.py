"""The notification blocks of an environment, made from variables: a webhook that Slack understands, and e-mail.

`Settings.notifications` names the blocks that people are told through, as `slack-webhook/slack-prod`. Addresses are
secrets: they come from the variables of the process that saves the blocks, and the server keeps them encrypted. All
are of the type `slack-webhook`, Prefect's own that takes any Apprise address: what it cannot send is an event and a log
line without the address, where a `custom-webhook` writes the whole address into the server's log and tells nobody.
"""

import os
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import SlackWebhook
from pydantic import SecretStr

from blocks.documents import environment_name
from perennial.errors import Permanent
from perennial.settings import Settings

SLACK = "PERENNIAL_SLACK_WEBHOOK"
"""Address of an incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat, Discord's `/slack`)."""
EMAIL = "PERENNIAL_EMAIL"
"""Mail server, login and people as one Apprise address: mailtos://user:password@host?from=ml@host&to=team@host"""
_SLACK_FORM = {":message": "text", ":title": "", ":version": "", ":type": "", ":attachments": "", "redirect": "no"}
"""Lets Apprise post `{"text": ...}` and nothing else; the subject is the first line of every body."""


class InvalidAddress(Permanent):
    """An address of a webhook is none."""


def untold(settings: Settings) -> str:
    """Say that nobody is told of what an environment does by itself, and how somebody would be; empty where it is well.

    In dev, and where schedules are paused and nobody is asked, whoever runs something looks at it.
    """
    is_live = settings.approval == "person" or (settings.schedules == "active" and settings.environment != "dev")
    if settings.notifications or not is_live:
        return ""
    name = settings.environment
    return (
        f"Nobody is told of failed runs, refused deliveries or promotions that wait in `{name}`. Write `notifications: "
        f"[slack-webhook/slack-{name}]` into its document, and give `{SLACK}` to `perennial apply --env {name}`."
    )


def notification_blocks(environment: str, variables: Mapping[str, str] | None = None) -> dict[str, NotificationBlock]:
    """Return the blocks that the variables give an address for, by the names that the settings may list.

    Raises:
        InvalidAddress: The webhook is not at an `http` or `https` address.
    """
    given = os.environ if variables is None else variables
    addresses: dict[str, str] = {}
    if given.get(SLACK):
        addresses["slack"] = _as_apprise(given[SLACK])
    if given.get(EMAIL):
        addresses["email"] = given[EMAIL]
    return {f"slack-webhook/{name}-{environment}": SlackWebhook(url=SecretStr(at)) for name, at in addresses.items()}


def save_notifications(environment: str, variables: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Save these blocks on the configured server, replacing saved ones, and return their names."""
    blocks = notification_blocks(environment, variables)
    save_blocks(blocks)
    return tuple(blocks)


def save_blocks(blocks: Mapping[str, NotificationBlock]) -> None:
    """Save blocks by their names on the configured server, replacing saved ones."""
    for name, block in blocks.items():
        block.save(name.partition("/")[2], overwrite=True)


def _as_apprise(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidAddress(
            f"`{SLACK}` holds no address of a webhook; expected one as https://hooks.slack.com/services/... Nothing "
            "was saved."
        )
    asked = {f"-{name}": value for name, value in parse_qsl(parts.query)}
    form = urlencode(_SLACK_FORM | asked, safe=":", quote_via=quote)
    return f"{'jsons' if parts.scheme == 'https' else 'json'}://{parts.netloc}{parts.path}?{form}"


if __name__ == "__main__":
    saved = save_notifications(environment_name())
    told = f"notifications: [{', '.join(saved)}]"
    print(f"Saved. Write into the environment's document: {told}" if saved else f"Set {SLACK} or {EMAIL} first.")
