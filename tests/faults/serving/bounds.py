"""What the service is held to under load, all in one place: seconds on a machine with two cores that are its own.

`docs/time-to-safe.md` repeats them beside what was measured.
"""

ARRIVALS = 30
"""Requests a second, of one row each, that arrive whether or not earlier ones were answered."""
REPLICAS = 3
SWAP = 15.0
"""From the record of a release until no answer is by the one before: all replicas load, probe and swap at once."""
TRIAL = 15.0
"""From the record of a trial's beginning until every replica takes part; loads two versions."""
BACK = 3.0
"""From the record of a rollback, or of a trial's end, until no answer is by what was taken back: nothing is loaded."""
DECISION = {
    "fails": 20.0,
    "slow": 30.0,
    "nan": 20.0,
    "schema": 15.0,
    "corrupted": 15.0,
    "quality": 30.0,
}
"""From a bad release to the record that takes it back; for lost quality from the arrival of the labels."""
KILL = 1.0
"""From the kill of a replica to the last request that fails of it: those that were under way."""
UNLOGGED = 2.0
"""From an answer to its place in the log for good, which a kill -9 may cut off: the flush of every second, and the
time of one write on a busy machine."""
