"""Ports of this machine: which are free, and who has one that is not; it opens none for longer than it looks."""

import socket
from collections.abc import Collection, Iterable
from functools import partial

import psutil


def choose_port(host: str, wanted: Iterable[int], promised: Collection[int] = ()) -> int:
    """Return the first of the wanted ports that is free, else any that is.

    Args:
        host: Where something is to listen.
        wanted: Ports in the order of preference.
        promised: Ports of others, who may not listen yet: free as they seem, none of these is chosen.
    """
    free = (port for port in wanted if port not in promised and is_free(host, port))
    return next(free, 0) or next(port for port in iter(partial(_any, host), 0) if port not in promised)


def is_free(host: str, port: int) -> bool:
    """Say whether something could listen there now."""
    try:
        with socket.create_server((host, port)):
            return True
    except OSError:
        return False


def who_listens(port: int) -> str:
    """Name the process that listens on a port, as far as this user may know."""
    for process in psutil.process_iter(["name", "pid"]):
        if listens(process, port):
            return f"`{process.info['name']}` (pid {process.info['pid']})"
    return "a process that this user may not see"


def listens(process: psutil.Process, port: int) -> bool:
    """Say whether a process listens on a port, as far as this user may know."""
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found)


def _any(host: str) -> int:
    with socket.create_server((host, 0)) as free:
        port: int = free.getsockname()[1]
        return port
