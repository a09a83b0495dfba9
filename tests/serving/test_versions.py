"""Versions at hand are used before any is loaded, and of two of one model the one that answers now."""

from dataclasses import replace

from serving.clock import now
from serving.loading import load
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
