"""A bill of materials is valid CycloneDX, and names what is installed with the hashes that were allowed."""

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deployments.bills import bill, locked_hashes
from deployments.images.contents import debian_packages, interpreter, python_packages

ROOT = Path(__file__).parents[2]
STATUS = """\
Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u14

Package: gone
Status: deinstall ok config-files
Version: 1:2.0
"""


def test_a_bill_is_valid_and_names_everything_once_with_its_hashes() -> None:
    hashes = locked_hashes((ROOT / "deployments" / "images" / "flows.lock").read_text())
    contents = {"interpreter": interpreter(), "python": python_packages(), "debian": debian_packages(STATUS)}
    made = bill("sha256:0a1b", "flows", contents, hashes)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    found = {one["purl"]: one for one in made["components"]}
    assert len(found) == len(made["components"]) > 100
    assert found[f"pkg:pypi/scikit-learn@{version('scikit-learn')}"]["hashes"]
    assert found["pkg:deb/debian/libc6@2.36-9%2Bdeb12u14"]["version"] == "2.36-9+deb12u14"
    assert found[f"pkg:generic/cpython@{python_version()}"]["cpe"].startswith("cpe:2.3:a:python:python:3.")
    assert not [purl for purl in found if "gone" in purl]


def test_what_is_no_bill_is_refused() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str('{"bomFormat": "CycloneDX"}') is not None


def test_make_fails_where_a_bill_was_not_written(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "Makefile", tmp_path)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\ncase "$*" in *" flows") exit 3;; esac\n')
    python.chmod(0o755)
    command = ["make", "--assume-old=setup", "BIN=bin", "sbom"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60).returncode != 0
    python.write_text("#!/bin/sh\n")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60).returncode == 0
