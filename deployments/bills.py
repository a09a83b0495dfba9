"""The bill of materials of an image as CycloneDX: what is installed in it, asked inside of it; it judges nothing.

`python -m deployments.bills <image> <target>` prints it; `make sbom` writes one for each image. Hashes of the Python
packages are those of the lock that the image was installed from.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perennial.errors import Permanent

_HERE = Path(__file__).parent / "images"


class NoContents(Permanent):
    """The image could not be asked what is in it."""


def bill_of(image: str, target: str) -> dict[str, Any]:
    """Return the bill of an image.

    Args:
        image: Its digest or name.
        target: `flows` or `serving`, which names the lock that it was installed from.

    Raises:
        NoContents: No engine answers, or it has no such image.
    """
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "python", image, "-"]
    asking = (_HERE / "contents.py").read_text(encoding="utf-8")
    done = subprocess.run(command, input=asking, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0:
        raise NoContents(f"`{image}` did not tell what is in it: {done.stderr.strip()[-500:]}")
    lock = (_HERE / f"{target}.lock").read_text(encoding="utf-8")
    return bill(image, target, json.loads(done.stdout), locked_hashes(lock))


def bill(image: str, target: str, contents: Mapping[str, Any], hashes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the bill of what an image contains; the same for the same contents."""
    about = {"type": "container", "name": f"perennial-{target}", "version": image, "bom-ref": "image"}
    runs = _interpreter(contents["interpreter"])
    components = [runs, *_python(contents["python"], hashes), *_debian(contents["debian"])]
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    return {**head, "metadata": {"component": about}, "components": components}


def locked_hashes(lock: str) -> dict[str, list[str]]:
    """Return the SHA-256 of the files that a lock allows, by normalised name and version."""
    found: dict[str, list[str]] = {}
    for entry in re.split(r"^(?=\S)", lock, flags=re.M):
        if match := re.match(r"([\w.-]+)==([^\s;\\]+)", entry):
            found.setdefault(_key(*match.groups()), []).extend(re.findall(r"sha256:(\w+)", entry))
    return found


def _interpreter(one: Mapping[str, str]) -> dict[str, Any]:
    named = f"cpe:2.3:a:python:python:{one['version']}:*:*:*:*:*:*:*"
    return {**_component(one, f"pkg:generic/{one['name']}@{one['version']}"), "cpe": named}


def _python(packages: Sequence[Mapping[str, str]], hashes: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    for one in packages:
        purl = f"pkg:pypi/{_key(one['name'], one['version']).replace('==', '@')}"
        allowed = [{"alg": "SHA-256", "content": value} for value in hashes.get(_key(one["name"], one["version"]), ())]
        licences = {"licenses": [{"expression": one["licence"]}]} if one["licence"] else {}
        yield {**_component(one, purl), **({"hashes": allowed} if allowed else {}), **licences}


def _debian(packages: Sequence[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    for one in packages:
        yield _component(one, f"pkg:deb/debian/{one['name']}@{quote(one['version'])}")


def _component(one: Mapping[str, str], purl: str) -> dict[str, Any]:
    return {"type": "library", "name": one["name"], "version": one["version"], "purl": purl, "bom-ref": purl}


def _key(name: str, version: str) -> str:
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


if __name__ == "__main__":
    print(json.dumps(bill_of(*sys.argv[1:3]), indent=1))
