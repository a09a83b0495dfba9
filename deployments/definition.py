"""What `prefect.yaml` says for one environment, with its placeholder filled in; it knows no use case and no server."""

from pathlib import Path
from typing import Any

import yaml

from blocks.documents import PROJECT
from perennial.errors import Permanent

PLACEHOLDER = "{{ $PERENNIAL_ENV }}"
REVISION = "PERENNIAL_REVISION"
"""Variable with what is built, which the build steps read for themselves."""


class InvalidDefinition(Permanent):
    """`prefect.yaml` asks for something that nobody fills in."""


def read_definition(environment: str, path: Path = PROJECT / "prefect.yaml") -> dict[str, Any]:
    """Read the file as `prefect deploy` would with `PERENNIAL_ENV` set to the environment.

    Raises:
        InvalidDefinition: It has another placeholder.
    """
    text = path.read_text(encoding="utf-8").replace(PLACEHOLDER, environment)
    left = text.replace(f"{{{{ ${REVISION} }}}}", "")
    if "{{" in left:
        number, line = next((n, one) for n, one in enumerate(left.splitlines(), 1) if "{{" in one)
        raise InvalidDefinition(
            f"`{path.name}` line {number} has a placeholder that nothing fills in: `{line.strip()}`. Expected only "
            f"`{PLACEHOLDER}`; what differs between environments is in their documents in blocks/environments/."
        )
    definition: dict[str, Any] = yaml.safe_load(text)
    return definition
