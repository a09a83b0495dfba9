"""The two kinds of error, which say whether trying again can help; it defines no error of one stage.

A message says what happened, what was expected and what to do, names in backticks, numbers with
their limits. The same text becomes the artifact and the event payload.
"""

import difflib
from collections.abc import Iterable


class PerennialError(Exception):
    """Base of every error that Perennial raises on purpose."""

    advice = ""
    """Whether trying again helps, in a sentence to close the message with."""


class Permanent(PerennialError):
    """Trying again gives the same answer: somebody has to change something first."""

    advice = "Trying again alone does not help."


class Transient(PerennialError):
    """The same call may go through later: a service was away, a lock was held, a race was lost."""

    advice = "Trying again may help."


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean `x`?" for the known word nearest to a mistyped one, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""
