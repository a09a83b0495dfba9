"""Telling what `perennial doctor` found, as it finds it."""

from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from cli.output import console, show

_MARKS = {"ok": ("ok", "green"), "problem": ("problem", "bold red"), "skipped": ("skipped", "yellow")}


def examine(as_json: bool) -> bool:
    """Tell every finding, and return whether nothing has to be mended."""
    from deployments.services.doctor import examine as findings
    from flows.entry import now

    found = []
    for one in findings(now):
        found.append(one)
        if not as_json:
            line = Table.grid(padding=(0, 2))
            line.add_column(width=8)
            line.add_column(width=14, style="dim")
            line.add_column(overflow="fold")
            line.add_row(Text(*_MARKS[one.state]), one.check, Text(one.summary))
            if one.remedy:
                line.add_row("", "", Text(f"→ {one.remedy}", style="cyan"))
            console.print(line)
    is_well = all(one.state != "problem" for one in found)
    show({"ok": is_well, "findings": [asdict(one) for one in found]}, lambda: None, as_json)
    return is_well
