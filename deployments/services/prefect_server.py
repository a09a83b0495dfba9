"""The process of a Prefect server: its own command, with its garbage collected apart."""

import sys

from blocks.garbage import collect_apart

if __name__ == "__main__":
    from prefect.cli import app

    collect_apart()
    sys.argv[1:1] = ["server", "start"]
    app()
