"""Make a server so as the code declares it, and see that it is.

What does not differ is not touched: an automation that is made again forgets its cooldowns, and a deployment its
scheduled runs. What differs is changed under the id that it has.
"""

from collections.abc import Callable, Iterable

from prefect.client.orchestration import SyncPrefectClient

from deployments.building import with_images, with_known_images
from deployments.changing import Changer, NotApplied
from deployments.desired import declared
from deployments.item import AUTOMATION, DEPLOYMENT, Item
from deployments.notifications import EMAIL, SLACK, notification_blocks, save_blocks
from deployments.observed import Observed, observe
from deployments.plan import Change, plan
from deployments.server import require_meant
from perennial.errors import Permanent
from perennial.settings import Settings

_ROUNDS = 3
"""The first does everything; the next mends what hung on a work pool that had to be made anew."""


class MissingBlock(Permanent):
    """An automation refers to a block that nobody made."""


def changes(client: SyncPrefectClient, settings: Settings) -> list[Change]:
    """Return what differs between the code and a server for an environment; nothing when it is as declared.

    Raises:
        AnothersServer: The server is that of another environment.
    """
    wanted = declared(with_known_images(settings))
    return plan(wanted, _observed(client, settings, wanted).items)


def apply(client: SyncPrefectClient, settings: Settings, tell: Callable[[Change], object]) -> list[Change]:
    """Make a server so as the code declares it.

    Blocks of `notifications` whose address a variable gives are saved each time: a server tells no secret, so that
    nobody can see whether it has the same. They count as no change.

    Args:
        client: Of the server.
        settings: The environment.
        tell: Called after each change.

    Returns:
        What was changed, in order.

    Raises:
        AnothersServer: The server is that of another environment. Nothing was changed.
        MissingBlock: An automation refers to a block that is not there. Nothing was changed.
        NotApplied: The server refused a change, or does not keep it. What was told before is done.
        NotBuilt: Its flow runs are containers, and their image could not be built. Nothing was changed.
    """
    wanted = declared(with_images(settings))
    _save_blocks(wanted, _observed(client, settings, wanted), settings.environment)
    done: list[Change] = []
    for _ in range(_ROUNDS):
        found = _observed(client, settings, wanted)
        left = plan(wanted, found.items)
        if not left:
            return done
        changer = Changer(client, found)
        for change in left:
            changer.make(change)
            done.append(change)
            tell(change)
    names = ", ".join(f"{one.item.kind} `{one.item.name}` ({', '.join(one.fields)})" for one in left)
    raise NotApplied(
        f"The server does not keep what it was given: {names}. Somebody else may be changing it at the same time; "
        f"`perennial plan --env {settings.environment}` shows what is left."
    )


def _observed(client: SyncPrefectClient, settings: Settings, wanted: Iterable[Item]) -> Observed:
    names = {kind: {one.name for one in wanted if one.kind == kind} for kind in (DEPLOYMENT, AUTOMATION)}
    found = observe(client, settings.environment, names)
    require_meant(settings, found.environments)
    return found


def _save_blocks(wanted: Iterable[Item], found: Observed, environment: str) -> None:
    """Save the blocks that people are told through where a variable gives the address, be it a new one."""
    actions = [action for one in wanted if one.kind == AUTOMATION for action in one.fields["actions"]]
    named = {action["block"] for action in actions if "block" in action}
    given = {name: block for name, block in notification_blocks(environment).items() if name in named}
    missing = sorted(named - found.blocks.keys() - given.keys())
    if missing:
        raise MissingBlock(
            f"{', '.join(f'`{one}`' for one in missing)} of `notifications` is no block of the server. Give the "
            f"address of `slack-{environment}` in the variable `{SLACK}`, that of `email-{environment}` in `{EMAIL}`; "
            "make another block in the Prefect UI under Blocks (type and name as written), or take it out of the "
            "environment's document. Nothing was changed."
        )
    save_blocks(given)
