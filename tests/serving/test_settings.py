"""A service is open to this machine alone, unless it has tokens."""

import pytest

from serving.settings import ServiceRefused, read_settings

ROOT = {"PERENNIAL_STORAGE_ROOT": "/storage"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert read_settings("shop-returns", host, 0, ROOT).tokens == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
@pytest.mark.parametrize("tokens", ["", " , "])
def test_another_address_needs_a_token(host: str, tokens: str) -> None:
    with pytest.raises(ServiceRefused, match=r"Set `PERENNIAL_SERVING_TOKENS`, or listen on 127\.0\.0\.1"):
        read_settings("shop-returns", host, 0, {**ROOT, "PERENNIAL_SERVING_TOKENS": tokens})
    assert read_settings("shop-returns", host, 0, {**ROOT, "PERENNIAL_SERVING_TOKENS": "a, b"}).tokens == ("a", "b")


def test_without_a_storage_root_it_is_refused() -> None:
    with pytest.raises(ServiceRefused, match="`PERENNIAL_STORAGE_ROOT` is not set"):
        read_settings("shop-returns", "127.0.0.1", 0, {})


def test_a_limit_that_is_no_number_is_named() -> None:
    with pytest.raises(ServiceRefused, match="`PERENNIAL_SERVING_RATE` is `fast`, expected a number"):
        read_settings("shop-returns", "127.0.0.1", 0, {**ROOT, "PERENNIAL_SERVING_RATE": "fast"})


def test_a_guard_in_a_container_knows_its_image() -> None:
    image = {"PERENNIAL_SERVING_IMAGE": "sha256:0a1b"}
    assert read_settings("shop-returns", "127.0.0.1", 0, {**ROOT, **image}).storage.serving_image == "sha256:0a1b"
