"""The guides say of each command whether it was tried."""

import re
from collections.abc import Iterator

import pytest

from tests.servers import ROOT

MARK = re.compile(r"#.*[✓○]")


def commands(guide: str) -> Iterator[str]:
    """Lines of the guide's shell blocks, without what a here-document holds."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", guide, flags=re.M | re.S):
        yield from re.sub(r"^(.*<<(\w+).*\n)(?:.*\n)*?\2\n", r"\1", block, flags=re.M).splitlines()


@pytest.mark.parametrize("name", ["install-one-host.md", "install-kubernetes.md"])
def test_every_command_is_marked_as_tried_or_not(name: str) -> None:
    found = list(commands((ROOT / "docs" / name).read_text(encoding="utf-8")))
    assert len(found) > 12
    assert [one for one in found if not MARK.search(one)] == []


def test_a_command_without_a_mark_shows() -> None:
    guide = "```sh\ncat > x <<EOF # ✓\nA=1\nEOF\nmake x # ○\n  make y\n```\n"
    assert [one for one in commands(guide) if not MARK.search(one)] == ["  make y"]
