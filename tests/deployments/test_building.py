"""What was built is named by the digest that nobody can move."""

import pytest

from deployments.building import pinned

NAME, OWN = "ghcr.io/team/perennial-flows:1f3c", "sha256:" + 64 * "a"
THERE, ELSEWHERE = "ghcr.io/team/perennial-flows@sha256:" + 64 * "b", "mirror:5000/perennial-flows@sha256:" + 64 * "c"


@pytest.mark.parametrize("known", [[THERE, ELSEWHERE], [ELSEWHERE, THERE]])
def test_the_digest_is_that_of_the_registry_that_the_image_is_named_for(known: list[str]) -> None:
    assert pinned(NAME, OWN, known) == THERE


@pytest.mark.parametrize("known", [[], [ELSEWHERE]])
def test_without_that_registry_it_is_the_identity_in_its_own_engine(known: list[str]) -> None:
    """A digest of another place would be pulled from there, where the next build never goes."""
    assert pinned(NAME, OWN, known) == OWN


def test_a_port_is_no_tag() -> None:
    known = ["localhost:5000/perennial-flows@sha256:" + 64 * "d"]
    assert pinned("localhost:5000/perennial-flows:1f3c", OWN, known) == known[0]
