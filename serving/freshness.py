"""Features made anew for what answers, when a delivery or time asks for it; it swaps nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from time import monotonic

from perennial.state import State
from perennial.workspace import Workspace
from serving.answering import Lineup
from serving.loading import refresh
from serving.telling import Trouble
from serving.versions import Patience

FRESH = 300.0
"""Seconds after which features are made anew although no delivery came: rows become known with time."""


class Freshness:
    """When the features of one replica are made, and how that goes."""

    def __init__(self, ws: Workspace, replica: str, clock: Callable[[], datetime]) -> None:
        self._ws, self._clock = ws, clock
        self._made = monotonic()
        self._patience = Patience()
        self.trouble = Trouble("features.kept", replica=replica)

    def is_due(self, state: State, lineup: Lineup) -> bool:
        """Say whether there could be fresher features, and it may be tried now."""
        is_old = lineup.champion.known != len(state.accepted) or monotonic() - self._made > FRESH
        return is_old and self._patience.may_try()

    def installed(self) -> None:
        """Note that the newest features answer."""
        self._made = monotonic()

    def refreshed(self, state: State, lineup: Lineup) -> Lineup | None:
        """Return the same versions with fresher features; `None` if they cannot be made, which is tried again later."""
        try:
            champion, trial = refresh(self._ws, state, lineup.champion, self._clock()), lineup.trial
            if trial:
                challenger = refresh(self._ws, state, trial.challenger, self._clock())
                trial = replace(trial, challenger=challenger, baseline=trial.baseline and champion)
        except Exception as error:
            self._patience.put_off()
            self.trouble.heard(error)
            return None
        self._patience.forget()
        self.trouble.heard(None)
        return replace(lineup, champion=champion, trial=trial)
