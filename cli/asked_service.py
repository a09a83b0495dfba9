"""An online service that is asked while a backfill makes releases, and what the timeline tells of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.markup import escape

from blocks.stack import read_stack, serving_name
from perennial.records import Record, Released
from perennial.workspace import Workspace

if TYPE_CHECKING:
    from deployments.drill.swaps import Swaps
    from deployments.drill.traffic import Traffic

_GIVES_WAY = 5
"""By how much the past is lived through at a lower priority than whoever asks now, on the same cores."""
_EVERY = 0.2
_PATIENCE = 20.0
"""Seconds that a timeline waits for the last replica to take on a release."""


class AskedService:
    """The running service of a use case, with requests on their way to it."""

    def __init__(self, swaps: "Swaps", traffic: "Traffic") -> None:
        self._swaps, self._traffic = swaps, traffic
        self._answered = self._failed = 0
        self._lived_through = Event()

    def expect(self, workspace: Workspace, is_new: bool) -> None:
        """Ask for the rows of a period from its delivery on, and nothing while one is only told again."""
        self._traffic.rows = []
        self._lived_through = Event()
        if is_new:
            own = Workspace(workspace.use_case, workspace.settings)
            Thread(target=self._ask_from_delivery, args=(own, self._lived_through), daemon=True).start()

    def told(self, records: Sequence[Record]) -> list[tuple[str, str]]:
        """Say how the releases among some records reached the service, and what became of the requests meanwhile."""
        self._lived_through.set()
        swaps = [("serve", self._swap(one)) for one in records if isinstance(one, Released)]
        return swaps or [("serve", self._asked())]

    def _ask_from_delivery(self, workspace: Workspace, lived_through: Event) -> None:
        from deployments.drill.traffic import newest_delivery, newest_rows

        before = newest_delivery(workspace)
        while not lived_through.wait(_EVERY):
            if newest_delivery(workspace) != before:
                self._traffic.rows = newest_rows(workspace)
                return

    def _swap(self, released: Released) -> str:
        swap = self._swaps.of(released.number, _PATIENCE)
        if swap is None:
            return f"[yellow]release {released.number} is not on every replica yet[/]; see `perennial status`"
        took = f"release {swap.release} on {swap.replicas} of {swap.replicas} replicas after {swap.seconds:.1f} s"
        if not self._traffic.sent.answered:
            return f"[green]{took}[/]: the service is ready"
        return f"[green]{took}[/]; {self._asked()}"

    def _asked(self) -> str:
        sent = self._traffic.sent
        answered, failed = sent.answered - self._answered, sent.failed - self._failed
        self._answered, self._failed = sent.answered, sent.failed
        lost = f"[red]{failed:,} failed[/]: {escape(sent.reasons.most_common(1)[0][0])}" if failed else "0 failed"
        return f"{answered:,} requests answered meanwhile, {lost}"


@contextmanager
def asking(workspace: Workspace, rate: float) -> Iterator[AskedService | None]:
    """Ask the service that runs here for a use case, as long as the block lasts; yields `None` where none does."""
    running = read_stack(workspace.settings).running(serving_name(workspace.use_case.slug))
    if not rate or running is None or workspace.use_case.serving is None:
        yield None
        return
    from deployments.drill.swaps import Swaps
    from deployments.drill.traffic import Traffic
    from deployments.services.keys import serving_tokens

    os.nice(_GIVES_WAY)
    token = serving_tokens(workspace.settings).partition(",")[0]
    traffic = Traffic(running.address, rate, token)
    with Swaps(workspace) as swaps, traffic:
        yield AskedService(swaps, traffic)
