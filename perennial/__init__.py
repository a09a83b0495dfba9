"""Keep machine-learning models alive: the lifecycle in plain Python, without Prefect or a web framework."""

import os

# Threads that wait for one another sleep instead of spinning. OpenMP reads this once, when the first library with it
# is loaded; on a busy machine with two cores, boosting took 50 s with spinning and 8 s without.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
