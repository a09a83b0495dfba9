"""What the journal says of a model: its training, its version, the verdict on it, its releases; it decides nothing."""

from typing import Literal

from perennial.periods import Window
from perennial.values import Frozen, Interval, Verdict


class CandidateFit(Frozen):
    """One candidate was fitted and scored on the holdout."""

    name: str
    estimator: str
    model: str
    """Digest of its artifact, which is also its address in the model store."""
    parameters: dict[str, float | int | str | bool | None]
    metrics: dict[str, Interval]
    """On the holdout."""
    validation: float | None = None
    """Primary metric on the validation window, by which candidates are chosen; `None` where it is undefined."""
    trials: int = 1
    """Settings tried on the validation window to choose the parameters."""


class Trained(Frozen):
    """A training: what it saw, every candidate, and the one it kept."""

    kind: Literal["model.trained"] = "model.trained"
    key: str
    """Digest of all that determines the result; the same key trains only once."""
    model: str
    candidate: str
    baseline: str
    """Artifact digest of the baseline candidate on the same rows."""
    candidates: tuple[CandidateFit, ...]
    fit: Window
    validation: Window
    holdout: Window
    fit_rows: int
    validation_rows: int
    holdout_rows: int
    snapshots: tuple[str, ...]
    """Partitions of `features`, oldest first."""
    features_version: int
    """Delta version of `features` that has them."""
    labels: str
    """Digest of the label rows known at the time."""
    spec: str
    query: str
    code: str
    """Revision of the code, `-dirty` when it had uncommitted changes."""
    lock: str
    seed: int
    audit: Verdict
    """Whether the features of sampled moments are the same when computed from what was known then."""


class TrainingRefused(Frozen):
    """A training could not begin or end; no model came of it."""

    kind: Literal["training.refused"] = "training.refused"
    key: str
    reason: str


class Registered(Frozen):
    """A trained model has a version in the MLflow registry."""

    kind: Literal["model.registered"] = "model.registered"
    model: str
    version: int
    run: str
    """MLflow run id with the evidence."""


class Judged(Frozen):
    """The gate's verdict on a challenger."""

    kind: Literal["model.judged"] = "model.judged"
    model: str
    version: int
    against: str
    """Artifact digest of the opponent: the champion's, or the baseline's before there is one."""
    against_version: int | None
    """The champion's version, `None` before the first."""
    gate: str | None = None
    """Digest of the gate that judged, with the metric; `None` in records from before it was written down."""
    verdict: Verdict


class Released(Frozen):
    """A version became the champion."""

    kind: Literal["release.made"] = "release.made"
    number: int
    model: str
    version: int
    replaces: int | None
    """Version that served before."""
    reason: str
    withdraws: int | None = None
    """Number of the release that a rollback took back; `None` when the gate had chosen the version."""
    rollout: int | None = None
    """Number of the rollout that it passed; `None` when it was released directly."""
    image: str | None = None
    """Digest of the image that was meant to answer with it; `None` where the service is no container."""
