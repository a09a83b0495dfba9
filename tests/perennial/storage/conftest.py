"""One real S3 API for the tests of this folder, with its keys in the environment as the tools expect them."""

from collections.abc import Iterator

import pytest

from tests.storage_servers import S3, s3_server


@pytest.fixture(scope="package")
def running_s3() -> Iterator[S3]:
    with s3_server() as server:
        server.create_bucket("perennial")
        yield server


@pytest.fixture
def s3(running_s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in running_s3.variables.items():
        monkeypatch.setenv(name, value)
    return running_s3
