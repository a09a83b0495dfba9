"""Where the running stack answers; it looks, and starts nothing.

`running_address(settings)` is the URL of its Prefect API or `None`; below `connected(settings)` the clients of
Prefect speak to it, with the credentials that were generated for it.
"""

from blocks.stack import connected, running_address

__all__ = ["connected", "running_address"]
