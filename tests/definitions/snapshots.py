"""What runs in an environment, as a text that people review; `python -m tests.definitions.snapshots` writes them again.

It is made of what the code declares; that a server then keeps exactly that is shown by tests/deployments/test_apply.py.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blocks.documents import read_settings
from deployments.desired import declared
from deployments.item import AUTOMATION, DEPLOYMENT, SCHEDULE, Item

HERE = Path(__file__).parent


def snapshot(environment: str) -> str:
    """Return the text of an environment, whatever the variables of this process override."""
    overrides = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PERENNIAL_")}
    try:
        items = declared(read_settings(environment))
    finally:
        os.environ.update(overrides)
    return "\n".join(line for one in items for line in _LINES.get(one.kind, _of_other)(one)) + "\n"


def _of_other(item: Item) -> Iterator[str]:
    fields = item.fields.get("document", item.fields)
    yield f"{item.kind} {item.name}  {_plain({name: one for name, one in fields.items() if name != 'template'})}"


def _of_deployment(item: Item) -> Iterator[str]:
    fields = item.fields
    schema = fields["parameter_schema"]
    needed = schema.get("required", [])
    parameters = ", ".join(name if name in needed else f"{name}?" for name in schema["properties"])
    usual = f"tags {' '.join(fields['tags'])}, pool {fields['work_pool']}, {_plain(fields['job_variables'])}"
    yield f"{item.name}  {fields['entrypoint']}({parameters})"
    yield f"    {_plain(fields['concurrency'])}, {usual}"


def _of_schedule(item: Item) -> Iterator[str]:
    fields = item.fields
    state = "active" if fields["active"] else "paused"
    yield f"{item.name}  {fields['cron']} {fields['timezone']}, {state}, {_plain(fields['parameters'])}"


def _of_automation(item: Item) -> Iterator[str]:
    trigger = item.fields["trigger"]
    events = " ".join(trigger["expect"]) + (f" after {' '.join(trigger['after'])}" if trigger["after"] else "")
    yield f"{item.name}"
    yield f"    {trigger['posture']}, {trigger['threshold']} within {trigger['within']:g} s: {events}"
    related = f", related {_plain(trigger['match_related'])}" if trigger["match_related"] else ""
    yield f"    of {_plain(trigger['match'])}{related}, for each {' '.join(trigger['for_each'])}"
    for action in item.fields["actions"]:
        yield f"    {action['type']} {_plain({name: one for name, one in action.items() if name != 'type'})}"


def _plain(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


_LINES = {DEPLOYMENT: _of_deployment, SCHEDULE: _of_schedule, AUTOMATION: _of_automation}


if __name__ == "__main__":
    for name in ("dev", "test", "prod"):
        (HERE / f"{name}.txt").write_text(snapshot(name))
