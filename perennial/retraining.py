"""What the journal says of retrainings: that one was asked for, who does it, and how it ended; it decides nothing."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from perennial.values import Frozen


class RetrainingDecided(Frozen):
    """What the retraining policy said after a measurement; with the action `retrain` it is a request for one."""

    kind: Literal["retraining.decided"] = "retraining.decided"
    period: str
    release: int | None = None
    """The release that served when it was decided; `None` before the first."""
    action: Literal["nothing", "retrain"]
    reasons: tuple[str, ...]


class RetrainingClaimed(Frozen):
    """A run took a request upon itself. Only the newest claim of a request counts: who lost it may not go on."""

    kind: Literal["retraining.claimed"] = "retraining.claimed"
    request: int
    """Number of the journal entry that asked."""
    number: int
    """1 for the first claim of the request."""
    holder: str
    """Flow run that has infrastructure of its own: the pipeline's or the retraining's."""
    attempt: int
    """How often that run had been started by then."""
    until: datetime
    """End of the lease, by the clock of the Prefect server: from then on a holder that nobody knows is given up."""


class Outcome(StrEnum):
    """How a request ended."""

    RELEASED = "released"
    ON_TRIAL = "on-trial"
    """The gate passed the challenger, and real requests decide on the rest: its rollout is followed by another run."""
    NOT_RELEASED = "not-released"
    """The gate did not pass the challenger."""
    TOO_FEW_ROWS = "too-few-rows"
    REFUSED = "refused"
    """Trying again gives the same answer: somebody has to change something first."""
    ABANDONED = "abandoned"
    """It was tried as often as it may be, and never came to an end."""


class RetrainingEnded(Frozen):
    """A request is answered, and nobody works on it any more."""

    kind: Literal["retraining.ended"] = "retraining.ended"
    request: int
    claim: int
    """Number of the claim that ended it."""
    outcome: Outcome
    reason: str
    declaration: str = ""
    """Digest of the use case as it was declared then."""


@dataclass
class Request:
    """A retraining that was asked for, and what became of it."""

    number: int
    """Of the journal entry that asked."""
    at: datetime
    """The moment it was decided for, as of which it trains."""
    decided: RetrainingDecided
    claims: list[RetrainingClaimed] = field(default_factory=list)
    ended: RetrainingEnded | None = None
    by_hand: bool = False
    """Somebody trained as of its moment without claiming it."""

    @property
    def is_open(self) -> bool:
        return self.ended is None and not self.by_hand

    @property
    def claim(self) -> RetrainingClaimed | None:
        """The newest claim, the only one that counts."""
        return self.claims[-1] if self.claims else None
