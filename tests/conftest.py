"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("perennial", deadline=None)
settings.load_profile("perennial")
