"""Where the online service of a use case runs: what is promised of it, and a cluster that keeps the promise."""
