"""What keeps services from running, each with what to do about it."""

from perennial.errors import Permanent, Transient


class MissingDatabase(Permanent):
    """An environment other than dev needs databases that somebody else looks after."""


class NotReady(Transient):
    """A service did not come up, or did not answer in time."""


class NotStopped(Transient):
    """A process would not end."""


class NotServed(Permanent):
    """A use case does not answer online."""


class TokensMissing(Permanent):
    """A service would answer whoever can reach it."""


class PortTaken(Permanent):
    """Something else listens there."""
