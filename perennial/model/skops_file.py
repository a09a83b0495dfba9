"""scikit-learn pipelines as skops files with the same bytes for the same content; the only module that uses skops.

What may be in such a file is our list, never the file's own; which pipelines there are is for `estimators`.

skops names nodes and members by memory addresses and stamps the time, so no two of its files are equal. Here
nodes are numbered in the order of the first visit, arrays are named by their content and the clock is 1980.
"""

import io
import json
import re
from collections.abc import Iterator
from threading import Lock
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from perennial.digests import digest_bytes
from perennial.errors import Permanent

_MEMBER = re.compile(r"schema\.json|[0-9a-f]{16}\.npy")
_MAX_MEMBERS = 1000
_PROTOCOL = 2
"""Of skops; an older one would choose older, laxer loaders."""
_TRUSTED = {
    "DictNode": {"builtins.dict"},
    "ListNode": {"builtins.list"},
    "TupleNode": {"builtins.tuple"},
    "SliceNode": {"builtins.slice"},
    "JsonNode": {"builtins.str"},
    "TypeNode": {"builtins.str", "numpy.float32"},
    "DTypeNode": {"numpy.dtype"},
    "NdArrayNode": {"numpy.ndarray", "numpy.float32", "numpy.float64", "numpy.int64"},
    "ObjectNode": {
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.Ridge",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._encoders.OneHotEncoder",
    },
}
"""Per loader of skops the types it may make: data, and the parts of our own pipelines."""


_IMPORTING = Lock()


class UntrustedFile(Permanent):
    """A skops file holds something that we never write."""


def _skops() -> Any:
    """Import skops without the list of all estimators that it would trust: only ours are trusted.

    To make that list it imports every module of scikit-learn, and pytest where that is installed, which takes 0.16 s
    and 12 MB of every process that writes or reads a pipeline.
    """
    from sklearn import utils

    with _IMPORTING:
        everything = utils.all_estimators
        utils.all_estimators = list
        try:
            import skops.io
        finally:
            utils.all_estimators = everything
    return skops.io


def dump_skops(fitted: Any) -> bytes:
    """Write a fitted pipeline; equal content gives equal bytes in every process."""
    with ZipFile(io.BytesIO(_skops().dumps(fitted))) as written:
        schema = json.loads(written.read("schema.json"))
        members: dict[str, bytes] = {}
        for number, node in enumerate(_nodes(schema), start=1):
            node["__id__"] = number
            if "file" in node:
                data = written.read(node["file"])
                node["file"] = f"{digest_bytes(data)[:16]}.npy"
                members[node["file"]] = data
    members["schema.json"] = json.dumps(schema, separators=(",", ":"), allow_nan=False).encode()
    return _zipped(members)


def load_skops(data: bytes) -> Any:
    """Read a file that `dump_skops` wrote.

    Raises:
        UntrustedFile: It is no plain zip of stored arrays, or names a type or loader outside our list.
    """
    skops = _skops()
    try:
        _check_members(data)
        with ZipFile(io.BytesIO(data)) as file:
            _check_schema(json.loads(file.read("schema.json")))
        return skops.loads(data, trusted=sorted(set().union(*_TRUSTED.values())))
    except UntrustedFile:
        raise
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError, OSError, RecursionError) as error:
        raise UntrustedFile(f"The model is no skops file that Perennial wrote: {error!r}. It was not used.") from error


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict) and "__loader__" in tree:
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as file:
        for name in sorted(members):
            member = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            file.writestr(member, members[name])
    return buffer.getvalue()


def _check_members(data: bytes) -> None:
    with ZipFile(io.BytesIO(data)) as file:
        members = file.infolist()
    names = [one.filename for one in members]
    if len(members) > _MAX_MEMBERS or len(set(names)) < len(names) or "schema.json" not in names:
        raise UntrustedFile(
            f"The model file has {len(names)} members, expected `schema.json` and its arrays, each once."
        )
    for one in members:
        if not _MEMBER.fullmatch(one.filename) or one.external_attr >> 28 not in (0, 8):
            raise UntrustedFile(f"The model file holds `{one.filename[:80]}`, expected `schema.json` and plain arrays.")
        if one.compress_type != ZIP_STORED or one.file_size != one.compress_size:
            raise UntrustedFile(
                f"`{one.filename}` is compressed; a model file only has stored members, so none can swell."
            )
    if sum(one.file_size for one in members) > len(data):
        raise UntrustedFile(f"The members of the model file overlap: they claim more than its {len(data)} bytes.")


def _check_schema(schema: Any) -> None:
    if not isinstance(schema, dict) or schema.get("protocol") != _PROTOCOL:
        raise UntrustedFile(f"The model file does not follow protocol {_PROTOCOL} of skops.")
    for node in _nodes(schema):
        loader, kind = node["__loader__"], f"{node.get('__module__')}.{node.get('__class__')}"
        if not isinstance(loader, str) or kind not in _TRUSTED.get(loader, ()):
            raise UntrustedFile(f"The model file wants `{kind}` from `{loader}`, which is not on Perennial's list.")
