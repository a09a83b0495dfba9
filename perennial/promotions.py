"""What the journal says of models from other environments: where one came from, why not, and who let it serve."""

from datetime import datetime
from typing import Literal

from perennial.model_history import Judged, Trained
from perennial.values import Frozen


class Station(Frozen):
    """One environment that a model came through, with the evidence that it had there."""

    environment: str
    storage: str
    """Storage root, below which the snapshots that its training names are."""
    version: int
    run: str
    """MLflow run id there."""
    trained: Trained
    """All that reproduces it, and the windows on which it was judged there."""
    judged: Judged


class Promoted(Frozen):
    """A model of another environment was copied here, and is to be judged here."""

    kind: Literal["promotion.received"] = "promotion.received"
    model: str
    stations: tuple[Station, ...]
    """Where it was, oldest first: the one that trained it, and last the one that it was taken from."""
    trained: Trained
    """Its training as this environment judges it: fitted as it was, but with holdout, snapshots, labels, baseline and
    audit of this environment."""
    trained_at: datetime
    """The moment of its training, where it was trained."""

    @property
    def source(self) -> Station:
        """The environment that it was taken from."""
        return self.stations[-1]


class PromotionRefused(Frozen):
    """A model of another environment may not be judged here, let alone serve."""

    kind: Literal["promotion.refused"] = "promotion.refused"
    source: str
    version: int
    model: str
    reason: str


class Answered(Frozen):
    """Somebody, or nobody in time, said whether a promoted model may serve here."""

    kind: Literal["promotion.answered"] = "promotion.answered"
    model: str
    version: int
    against_version: int | None
    """The champion that its verdict was about, as in the verdict."""
    approved: bool
    who: str
    reason: str
    run: str = ""
    """Prefect flow run that asked."""
