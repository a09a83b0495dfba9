"""Makes the code of an image known to its environment, as `pip install --editable` would without a build backend.

It runs while an image is built, on the standard library alone, and downloads nothing. A command reads the secrets that
are mounted as files, as the entrypoint does: `docker exec` starts it without that.
"""

import os
import sys
import sysconfig
import tomllib
from pathlib import Path

COMMAND = """\
#!{python}
import os
import sys

from deployments.images.start import with_secrets

os.environ.update(with_secrets(dict(os.environ)))

from {module} import {function}

sys.exit({function}())
"""
EPOCH = 315532800
"""When all that is installed was last changed, in seconds since 1970: 1980, the first year that a zip file knows."""


def install(project: Path, environment: Path) -> None:
    """Write metadata, import path and commands of a project into an environment, the same whenever it is done.

    Args:
        project: Folder with `pyproject.toml` and the packages.
        environment: `site-packages` of the environment that runs this.
    """
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata, path = environment / f"{about['name']}-{about['version']}.dist-info", environment / f"{about['name']}.pth"
    metadata.mkdir()
    fields = {"Metadata-Version": "2.1", "Name": about["name"], "Version": about["version"]}
    (metadata / "METADATA").write_text(
        "".join(f"{name}: {value}\n" for name, value in fields.items()), encoding="utf-8"
    )
    path.write_text(f"{project}\n", encoding="utf-8")
    commands = [_command(name, *target.split(":")) for name, target in about["scripts"].items()]
    for one in (metadata / "METADATA", metadata, path, environment, *commands, Path(sys.executable).parent):
        os.utime(one, (EPOCH, EPOCH))


def _command(name: str, module: str, function: str) -> Path:
    path = Path(sys.executable).with_name(name)
    path.write_text(COMMAND.format(python=sys.executable, module=module, function=function), encoding="utf-8")
    path.chmod(0o755)
    return path


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve(), Path(sysconfig.get_path("purelib")))
