"""Features queries and what online features were computed from, kept in the store under their digests.

A model is served with the query it was trained on, whatever the use case's folder says by then.
"""

from datetime import datetime

from perennial.digests import canonical_json, digest_bytes, digest_json
from perennial.errors import Permanent
from perennial.store import MissingObject
from perennial.values import Frozen
from perennial.workspace import Workspace


class QueryLost(Permanent):
    """The store does not have a features query, or what online features were computed from, byte for byte."""


class Reference(Frozen):
    """What online features rest on beside the request: the same again gives the same features."""

    query: str
    """Digest of the features query."""
    deliveries: tuple[str, ...]
    """Partitions of `raw_<source>`, as `<source>/<partition>`."""
    moment: datetime
    """Newest moment at which one of their rows or labels became known, of those that were seen."""

    @property
    def digest(self) -> str:
        return digest_json(self.model_dump(mode="json"))


def keep_query(ws: Workspace) -> str:
    """Keep the present features query of a use case, and return its digest."""
    data = ws.use_case.features_sql.encode()
    digest = digest_bytes(data)
    if not ws.store.exists(_query(digest)):
        ws.store.put(_query(digest), data)
    return digest


def copy_query(source: Workspace, target: Workspace, digest: str) -> None:
    """Take the features query of a model along to another environment, whose folder may have another one.

    Raises:
        QueryLost: The source does not have it either.
    """
    if target.use_case.features_digest != digest and not target.store.exists(_query(digest)):
        target.store.put(_query(digest), load_query(source, digest).encode())


def load_query(ws: Workspace, digest: str) -> str:
    """Return the features query of a digest: from the folder, or where it has changed since, from the store.

    Raises:
        QueryLost: The folder has another one and the store none, or not byte for byte.
    """
    if ws.use_case.features_digest == digest:
        return ws.use_case.features_sql
    return _read(ws, _query(digest), digest).decode()


def keep_reference(ws: Workspace, reference: Reference) -> str:
    """Keep what online features were computed from, and return its digest."""
    digest = reference.digest
    if not ws.store.exists(_reference(ws, digest)):
        ws.store.put(_reference(ws, digest), canonical_json(reference.model_dump(mode="json")))
    return digest


def load_reference(ws: Workspace, digest: str) -> Reference:
    """Return what online features were computed from.

    Raises:
        QueryLost: The store does not have it, or not byte for byte.
    """
    return Reference.model_validate_json(_read(ws, _reference(ws, digest), digest))


def _read(ws: Workspace, path: str, digest: str) -> bytes:
    try:
        data = ws.store.get(path)
    except MissingObject as error:
        raise QueryLost(f"`{ws.store.uri(path)}` does not exist. {_MEND}") from error
    if digest_bytes(data) != digest:
        raise QueryLost(f"`{ws.store.uri(path)}` was changed after it was written. {_MEND}")
    return data


def _query(digest: str) -> str:
    return f"queries/{digest}.sql"


def _reference(ws: Workspace, digest: str) -> str:
    return f"references/{ws.use_case.slug}/{digest}.json"


_MEND = "Restore it from a backup; a model of another features query serves again once it is trained anew."
