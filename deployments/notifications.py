"""The notification blocks of an environment, made from variables: a webhook that Slack understands, and e-mail.

`Settings.notifications` names the blocks that people are told through, as `custom-webhook/slack-prod`. Addresses are
secrets: they come from the variables of the process that saves the blocks, and the server keeps them encrypted.
"""

import os
from collections.abc import Mapping

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from pydantic import SecretStr

from blocks.documents import environment_name
from perennial.settings import Settings

SLACK = "PERENNIAL_SLACK_WEBHOOK"
"""Address of an incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat, Discord's `/slack`)."""
EMAIL = "PERENNIAL_EMAIL"
"""Mail server, login and people as one Apprise address: mailtos://user:password@host?from=ml@host&to=team@host"""


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
        f"[custom-webhook/slack-{name}]` into its document, and give `{SLACK}` to `perennial apply --env {name}`."
    )


def notification_blocks(environment: str, variables: Mapping[str, str] | None = None) -> dict[str, NotificationBlock]:
    """Return the blocks that the variables give an address for, by the names that the settings may list.

    E-mail goes through a block of the type `slack-webhook`: the one of Prefect's own that takes any Apprise address.
    """
    given = os.environ if variables is None else variables
    blocks: dict[str, NotificationBlock] = {}
    if given.get(SLACK):
        blocks[f"custom-webhook/slack-{environment}"] = _webhook(environment, given[SLACK])
    if given.get(EMAIL):
        blocks[f"slack-webhook/email-{environment}"] = SlackWebhook(url=SecretStr(given[EMAIL]))
    return blocks


def save_notifications(environment: str, variables: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Save these blocks on the configured server, replacing saved ones, and return their names."""
    blocks = notification_blocks(environment, variables)
    save_blocks(blocks)
    return tuple(blocks)


def save_blocks(blocks: Mapping[str, NotificationBlock]) -> None:
    """Save blocks by their names on the configured server, replacing saved ones."""
    for name, block in blocks.items():
        block.save(name.partition("/")[2], overwrite=True)


def _webhook(environment: str, address: str) -> CustomWebhookNotificationBlock:
    return CustomWebhookNotificationBlock(
        name=f"slack-{environment}",
        url="{{address}}",
        json_data={"text": "*{{subject}}*\n{{body}}"},
        secrets=SecretDict({"address": address}),
    )


if __name__ == "__main__":
    saved = save_notifications(environment_name())
    told = f"notifications: [{', '.join(saved)}]"
    print(f"Saved. Write into the environment's document: {told}" if saved else f"Set {SLACK} or {EMAIL} first.")
