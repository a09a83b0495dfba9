"""Ports of this machine: which are free, and who has one that is not; it opens none for longer than it looks."""

import socket
from collections.abc import Iterable

import psutil


def choose_port(host: str, wanted: Iterable[int]) -> int:
    """Return the first of the wanted ports that is free, else any that is."""
    return next((port for port in wanted if is_free(host, port)), 0) or _any(host)


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
        try:
            found = process.net_connections("tcp")
        except psutil.Error:
            continue
        if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found):
            return f"`{process.info['name']}` (pid {process.info['pid']})"
    return "a process that this user may not see"


def _any(host: str) -> int:
    with socket.create_server((host, 0)) as free:
        port: int = free.getsockname()[1]
        return port
