"""A trained, judged and released `shop-returns`, made once and copied for each test."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from perennial.model.artifact import Model, load_reference, save_model
from perennial.model.dataset import load_dataset
from perennial.model.estimators import estimator
from perennial.model.fitted import Fitted, Sample
from perennial.model.training import plan_training, train
from perennial.records import Record, Registered, Released, Trained
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, make_use_case, moment

MAY = moment("2024-05-01")


@dataclass(frozen=True)
class Shop:
    """A use case with four months of data and one honest training; nothing is released."""

    ws: Workspace
    trained: Trained

    def record(self, record: Record, at: datetime = MAY) -> None:
        """Append a record as if its stage had written it."""
        self.ws.journal.decide(lambda entries: record, at)

    def register(self, trained: Trained) -> Trained:
        """Give a model the next version."""
        version = len(self.ws.state().registered) + 1
        self.record(Registered(model=trained.model, version=version, run=f"run-{version}"))
        return trained

    def plant(self, spoil: Callable[[Sample], Sample] = lambda sample: sample, fitted: Fitted | None = None) -> Trained:
        """Register a model fitted on a spoiled sample, or a given one, as if the training had kept it."""
        return self.register(self.keep(spoil, fitted))

    def keep(self, spoil: Callable[[Sample], Sample] = lambda sample: sample, fitted: Fitted | None = None) -> Trained:
        """Record such a model as trained only."""
        data = load_dataset(self.ws, plan_training(self.ws, MAY))
        kind = estimator("majority" if fitted else "xgboost", "binary")
        model = Model(kind, data.encoder, fitted or kind.fit(spoil(data.sample), {"rounds": 30, "max_depth": 3}, 0, 1))
        reference = load_reference(self.ws.store, self.trained.model)
        digest = save_model(self.ws.store, model, data.questions, reference)
        fits = (
            one.model_copy(update={"model": digest}) if one.name == self.trained.candidate else one
            for one in self.trained.candidates
        )
        changes = {"model": digest, "key": f"planted-{digest}", "candidates": tuple(fits)}
        planted = self.trained.model_copy(update=changes)
        self.record(planted)
        return planted

    def serve(self, trained: Trained, at: datetime = MAY) -> Released:
        """Release a registered model without asking the gate."""
        state = self.ws.state()
        released = Released(
            number=len(state.released) + 1,
            model=trained.model,
            version=state.registered[trained.model].version,
            replaces=state.champion.version if state.champion else None,
            reason="by hand",
        )
        self.record(released, at)
        return released


def with_labels(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Sample], Sample]:
    """Return a spoiler that changes the labels of fit and validation, given them and their columns."""
    return lambda one: replace(one, y=change(one.y, one.x), y_validation=change(one.y_validation, one.x_validation))


@pytest.fixture(scope="session")
def trained_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The original, which tests only copy."""
    ws = make_use_case(tmp_path_factory.mktemp("shop"))
    deliver(ws, *MONTHS)
    shop = Shop(ws, train(ws, MAY))
    shop.register(shop.trained)
    return shop


@pytest.fixture
def shop(trained_shop: Shop, tmp_path: Path) -> Shop:
    """A copy of one's own."""
    root = tmp_path / "storage"
    shutil.copytree(trained_shop.ws.settings.storage_root, root)
    settings = trained_shop.ws.settings.model_copy(update={"storage_root": str(root)})
    return Shop(Workspace(trained_shop.ws.use_case, settings), trained_shop.trained)
