"""Doing several things of which none may hide another by failing; what failed is told at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from blocks.secrets import keeping_secrets

Part = Callable[[], list[str]]
"""Something that makes good what was lost, and returns what it did."""


@dataclass
class MadeGood:
    """What was made good, and which parts failed."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def attempt(self, about: str, part: Part, prefix: str = "") -> None:
        """Do a part; a failure of any kind is kept for the end and hides no other part."""
        try:
            with keeping_secrets():
                self.done += [f"{prefix}{one}" for one in part()]
        except Exception as error:
            self.failed.append(f"{about}: {type(error).__name__}: {error}")

    def report(self) -> str:
        """Return both for people."""
        done = "\n".join(f"- {one}" for one in self.done)
        failed = ["### Failed", "\n".join(f"- {one}" for one in self.failed)] if self.failed else []
        return "\n\n".join(["## Reconciliation", done or "Nothing had to be made good.", *failed])
