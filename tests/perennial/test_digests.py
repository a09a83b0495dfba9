"""Digests name things by content."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.digests import canonical_json, digest_bytes, digest_json

names = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=5)


def test_a_digest_is_the_known_sha256() -> None:
    assert digest_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(names)
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert digest_json(dict(reversed(value.items()))) == digest_json(value)


@given(names, names)
def test_different_values_have_different_digests(one: dict[str, object], other: dict[str, object]) -> None:
    assert (digest_json(one) == digest_json(other)) is (one == other)


def test_canonical_json_has_no_spaces_and_keeps_letters() -> None:
    assert canonical_json({"b": [1, 2], "a": "Zürich"}) == '{"a":"Zürich","b":[1,2]}'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_json_cannot_say_has_no_digest(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_json({"a": number})
