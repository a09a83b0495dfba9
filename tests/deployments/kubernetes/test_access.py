"""The emulation refuses what no Role allows, as a cluster does, so that tests on it show the Roles to be enough."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.deployments.kubernetes.access import Account
from tests.deployments.kubernetes.emulation import running_api

JOBS = "/apis/batch/v1/namespaces/here/jobs"
PODS = "/api/v1/namespaces/here/pods"


@pytest.mark.parametrize(
    ("account", "method", "path", "code"),
    [
        ("perennial-worker", "GET", JOBS, 200),
        ("perennial-worker", "GET", f"{PODS}/some/log", 200),
        ("perennial-worker", "GET", f"{JOBS}/some", 404),
        ("perennial-worker", "GET", f"{PODS}/some", 403),
        ("perennial-worker", "DELETE", f"{PODS}/some", 403),
        ("perennial-worker", "DELETE", JOBS, 403),
        ("perennial-worker", "PATCH", f"{JOBS}/some", 403),
        ("perennial-worker", "GET", JOBS.replace("here", "elsewhere"), 403),
        ("perennial-worker", "GET", "/apis/batch/v1/jobs", 403),
        ("perennial-worker", "GET", "/api/v1/namespaces/here/secrets", 403),
        ("perennial-deploy", "GET", JOBS, 403),
        ("perennial-server", "GET", PODS, 403),
    ],
)
def test_an_account_may_what_the_role_says_that_is_bound_to_it(account: str, method: str, path: str, code: int) -> None:
    with running_api(Account(account, "here")) as (_, address):
        asked = Request(address + path, b"{}" if method == "PATCH" else None, method=method)
        asked.add_header("Content-Type", "application/merge-patch+json")
        try:
            answered = urlopen(asked, timeout=10).status
        except HTTPError as error:
            answered = error.code
            assert code != 403 or json.loads(error.read())["reason"] == "Forbidden"
    assert answered == code
