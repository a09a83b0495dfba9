"""Tensors of the Open Inference Protocol as lists of plain values and back, in JSON and in its binary extension."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.problems import malformed

NUMPY = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = {"string": "BYTES", "timestamp": "BYTES", "integer": "INT64", "number": "FP64", "boolean": "BOOL"}
"""What each declared type is in the metadata."""
_NUMBERS = frozenset(NUMPY) - {"BOOL"}
ACCEPTED = {
    "string": {"BYTES"},
    "timestamp": {"BYTES"},
    "integer": _NUMBERS,
    "number": _NUMBERS,
    "boolean": {"BOOL"},
}
"""What each declared type may come as."""


def length_of(name: str, shape: Any) -> int:
    """Return the rows of a tensor of shape [n] or [n, 1]."""
    is_shape = isinstance(shape, list) and all(type(one) is int and one >= 0 for one in shape)
    if not is_shape or len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise malformed(f"Input `{name}` has the shape {str(shape)[:60]}, expected [rows] or [rows, 1].")
    return int(shape[0])


def plain_values(name: str, data: Any, length: int) -> list[Any]:
    """Return the values of a tensor given as JSON, flat or nested by its shape; `null` is a missing value."""
    if not isinstance(data, list):
        raise malformed(f"Input `{name}` has no `data`, expected a list of {length} values.")
    flat = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]
    if len(flat) != length:
        raise malformed(f"Input `{name}` has {len(flat)} values, expected {length} by its shape.")
    return flat


def binary_values(name: str, datatype: str, data: bytes, length: int) -> list[Any]:
    """Return the values of a tensor given as bytes; NaN is a missing value."""
    if datatype == "BYTES":
        return _texts(name, data, length)
    kind = np.dtype(NUMPY[datatype])
    if len(data) != length * kind.itemsize:
        raise malformed(f"Input `{name}` has {len(data)} bytes, expected {length * kind.itemsize} by its shape.")
    values = np.frombuffer(data, kind)
    if kind.kind == "f":
        return [None if one != one else one for one in values.astype(float).tolist()]
    return list(values.tolist())


def binary(datatype: str, values: Sequence[Any]) -> bytes:
    """Write values as bytes."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(data := one.encode())) + data for one in values)
    return np.asarray(values, NUMPY[datatype]).tobytes()


def _texts(name: str, data: bytes, length: int) -> list[str]:
    texts, place = [], 0
    try:
        while place < len(data):
            (size,) = struct.unpack_from("<I", data, place)
            if place + 4 + size > len(data):
                raise malformed(f"Input `{name}` is cut short.")
            texts.append(data[place + 4 : place + 4 + size].decode())
            place += 4 + size
    except (struct.error, UnicodeDecodeError):
        raise malformed(f"Input `{name}` holds no texts in UTF-8, each after its length in four bytes.") from None
    if len(texts) != length:
        raise malformed(f"Input `{name}` has {len(texts)} texts, expected {length} by its shape.")
    return texts
