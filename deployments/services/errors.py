"""What keeps services from running, each with what to do about it."""

from perennial.errors import Permanent, Transient


class MissingDatabase(Permanent):
    """An environment other than dev needs databases that somebody else looks after."""


class NotReady(Transient):
    """A service did not come up, or did not answer in time."""


class NotStopped(Transient):
    """A process would not end."""
