"""Versions that are ready to answer, or were not loaded and when to try again; it decides nothing of who answers."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from time import monotonic

from perennial.state import State
from perennial.workspace import Workspace
from serving.loading import Loaded, VersionRefused
from serving.telling import tell

WARM = 2
"""Versions kept loaded beside those that answer, for a rollback."""
PATIENCE = (2.0, 5.0, 15.0, 60.0)
"""Seconds before a version that could not be loaded is tried again, the last for ever."""

Loader = Callable[[Workspace, State, str, int, datetime], Loaded]


class Patience:
    """When something may be tried again: the later, the more often the same part of it failed."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}

    @property
    def has_failed(self) -> bool:
        """Whether a part of it failed when it was last tried."""
        return bool(self._failed)

    def may_try(self) -> bool:
        """Say whether nothing failed, or long enough ago."""
        return all(monotonic() >= again for _, again in list(self._failed.values()))

    def put_off(self, part: str = "") -> None:
        """Hear that a part failed."""
        tries = self._failed.get(part, (0, 0.0))[0]
        self._failed[part] = (tries + 1, monotonic() + PATIENCE[min(tries, len(PATIENCE) - 1)])

    def forget(self, part: str = "") -> None:
        """Hear that a part went well."""
        self._failed.pop(part, None)


class Versions:
    """Makes versions ready by a loader, keeps the last ones warm, and remembers what could not be loaded."""

    def __init__(self, ws: Workspace, loader: Loader, clock: Callable[[], datetime]) -> None:
        self._ws, self._loader, self._clock = ws, loader, clock
        self._warm: OrderedDict[str, Loaded] = OrderedDict()
        self._patience: defaultdict[str, Patience] = defaultdict(Patience)
        self.refused: dict[str, str] = {}
        """Why a version is not taken on, by what it is needed for: its own fault."""
        self.waiting: dict[str, str] = {}
        """Why a version could not be loaded yet, through no fault of its own."""

    def ready(
        self, state: State, model: str, version: int, reason: str, loaded: Sequence[Loaded], anew: bool = False
    ) -> Loaded | None:
        """Return a version from those at hand or loaded now; `None` if it could not be, which is remembered.

        Args:
            state: The journal's.
            model: Digest of the artifact.
            version: Its number.
            reason: What it is needed for, `release/3` or `rollout/2`.
            loaded: What answers now.
            anew: Load it again even if it is at hand.
        """
        at_hand = {} if anew else self._warm | {one.model: one for one in loaded}
        try:
            one = at_hand.get(model) or self._loader(self._ws, state, model, version, self._clock())
        except Exception as error:
            self._put_off(reason, model, error)
            return None
        self._patience[reason].forget(model)
        if not self._patience[reason].has_failed:
            self.refused, self.waiting = _without(self.refused, reason), _without(self.waiting, reason)
        return replace(one, version=version)

    def _put_off(self, reason: str, model: str, error: Exception) -> None:
        self._patience[reason].put_off(model)
        why = {reason: f"{type(error).__name__}: {error}"}
        if isinstance(error, VersionRefused):
            self.refused, self.waiting = self.refused | why, _without(self.waiting, reason)
            tell("version.refused", what=reason, error=str(error))
        else:
            self.waiting = self.waiting | why
            tell("version.waiting", what=reason, error=why[reason])

    def may_try(self, reason: str) -> bool:
        """Say whether something was never refused, or long enough ago."""
        return self._patience[reason].may_try()

    def previous(self, state: State) -> Loaded | None:
        """Return the release that is kept warm and was not taken back, the last that answered; `None` without one."""
        good = {one.model for one in state.released} - state.withdrawn.keys()
        return next((one for one in reversed(self._warm.values()) if one.model in good), None)

    def keep(self, before: Sequence[Loaded], champion: Loaded) -> None:
        """Keep what answered until now warm, and let go of what is too long ago."""
        for one in before:
            self._warm[one.model] = one
            self._warm.move_to_end(one.model)
        self._warm.pop(champion.model, None)
        while len(self._warm) > WARM:
            self._warm.popitem(last=False)


def _without(told: dict[str, str], reason: str) -> dict[str, str]:
    return {name: why for name, why in told.items() if name != reason}
