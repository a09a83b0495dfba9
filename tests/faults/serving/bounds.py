"""What the service is held to under load, all in one place: seconds on a machine with two cores.

They leave room for a slower machine; what was measured is in `docs/time-to-safe.md`.
"""

ARRIVALS = 30
"""Requests a second, of one row each, that arrive whether or not earlier ones were answered."""
REPLICAS = 3
SWAP = 30.0
"""From the record of a release until no answer is by the one before: all replicas load, probe and swap at once."""
DECISION = 60.0
"""From a bad release, the beginning of a bad version's trial, or the labels that show it, to the record that takes it
back; loading it is part of that."""
BACK = 5.0
"""From the record of a rollback, or of a trial's end, until no answer is by what was taken back: it is still loaded."""
KILL = 2.0
"""From the kill of a replica to the last request that fails of it: those that it had taken on."""
UNLOGGED = 2.0
"""Age up to which answers of a killed replica may be missing in its log: it is written every second."""
AWAY = 6.0
"""For so long the storage is away; replicas go on with what they have."""
