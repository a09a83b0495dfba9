"""Makes the code of an image known to its environment, as `pip install --editable` would without a build backend.

It runs while an image is built, on the standard library alone, and downloads nothing.
"""

import sys
import sysconfig
import tomllib
from pathlib import Path

COMMAND = "#!{python}\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"


def install(project: Path, environment: Path) -> None:
    """Write metadata, import path and commands of a project into an environment.

    Args:
        project: Folder with `pyproject.toml` and the packages.
        environment: `site-packages` of the environment that runs this.
    """
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = environment / f"{about['name']}-{about['version']}.dist-info"
    metadata.mkdir()
    fields = {"Metadata-Version": "2.1", "Name": about["name"], "Version": about["version"]}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (metadata / "METADATA").write_text(text, encoding="utf-8")
    (environment / f"{about['name']}.pth").write_text(f"{project}\n", encoding="utf-8")
    for name, target in about["scripts"].items():
        module, function = target.split(":")
        command = Path(sys.executable).with_name(name)
        command.write_text(COMMAND.format(python=sys.executable, module=module, function=function), encoding="utf-8")
        command.chmod(0o755)


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve(), Path(sysconfig.get_path("purelib")))
