"""The trained `shop-returns` of the release tests, also for what starts services of it."""

from tests.perennial.release.conftest import trained_shop

__all__ = ["trained_shop"]
