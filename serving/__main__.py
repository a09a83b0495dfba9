"""`python -m serving <slug> --host --port --replicas`: the online service of one use case, told by its environment."""

import argparse
import os
import sys

from perennial.errors import PerennialError
from perennial.use_case_file import load_use_case


def main() -> int:
    """Serve until told to end; 2 where the service is not started as it is told to."""
    from pathlib import Path

    from serving.settings import read_settings
    from serving.supervisor import Supervisor

    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("slug", help="use case to serve")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for any that is free")
    parser.add_argument("--replicas", type=int, default=2, help="processes that answer")
    given = parser.parse_args()
    try:
        settings = read_settings(given.slug, given.host, given.port, os.environ)
        load_use_case(Path(settings.storage.use_cases), given.slug)
        Supervisor(settings, given.replicas, os.environ).run()
    except PerennialError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
