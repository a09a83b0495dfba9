"""Versions at hand are used before any is loaded, and of two of one model the one that answers now."""

from dataclasses import replace
from datetime import datetime

import pytest

from perennial.state import State
from perennial.storage_trouble import StoreAway
from perennial.workspace import Workspace
from serving import versions as versions_module
from serving.clock import now
from serving.loading import Loaded, load
from serving.versions import Versions
from tests.perennial.release.conftest import Shop


def test_a_challenger_that_serves_at_last_keeps_its_fresh_features(shop: Shop) -> None:
    shop.serve(shop.trained)
    state, model = shop.ws.state(), shop.trained.model
    fresh = load(shop.ws, state, model, 1, now())
    stale, champion = replace(fresh, known=0), replace(fresh, model="another")
    versions = Versions(shop.ws, load, now)
    versions.keep([stale], champion)
    assert versions.ready(state, model, 1, "release/2", []) == stale, "what is warm is not loaded again"
    found = versions.ready(state, model, 1, "release/2", [champion, fresh])
    assert found and found.known == fresh.known > 0


def test_a_challenger_whose_baseline_does_not_load_is_tried_ever_more_rarely(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.serve(shop.trained)
    state, seconds, loads = shop.ws.state(), [0.0], list[float]()
    monkeypatch.setattr(versions_module, "monotonic", lambda: seconds[0])
    challenger = replace(load(shop.ws, state, shop.trained.model, 1, now()), model="challenger")

    def loader(ws: Workspace, state: State, model: str, version: int, as_of: datetime) -> Loaded:
        if model == "baseline" and seconds[0] < 100:
            raise StoreAway("No answer.")
        loads.append(seconds[0])
        return challenger

    versions = Versions(shop.ws, loader, now)
    for seconds[0] in range(100):
        if versions.may_try("rollout/1"):
            assert versions.ready(state, "challenger", 2, "rollout/1", [])
            assert bool(seconds[0]) == ("rollout/1" in versions.waiting), "what waits is told all the while"
            assert versions.ready(state, "baseline", 1, "rollout/1", [], anew=True) is None
    assert loads == [0, 2, 7, 22, 82]
    seconds[0] = 200
    assert versions.ready(state, "baseline", 1, "rollout/1", [], anew=True) and versions.waiting == {}
