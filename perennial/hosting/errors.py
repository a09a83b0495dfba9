"""What can go wrong between us and a cluster, and with what it should run; it causes none of it."""

from perennial.errors import Permanent, Transient


class NoCluster(Permanent):
    """This process is in no cluster and knows of none."""


class ClusterAway(Transient):
    """The cluster does not answer, or asked too often to come back later."""


class ClusterRefused(Permanent):
    """The cluster does not let us, or does not take what it was given."""


class FieldConflict(Permanent):
    """Somebody else changed what is ours; forcing it takes it back."""


class NotHosted(Permanent):
    """What should run does not do well, and what ran before runs on."""


class Superseded(Permanent):
    """Somebody else began with a newer image meanwhile."""
