"""What a user can mend, said in one sentence.

The command line prints a `UserError` as one line and ends with exit code 2; everything else is a fault of
ours and keeps its traceback.
"""

__all__ = ["UserError", "nearest"]

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One sentence in three parts: where (file, row, column, key), what is wrong (the value), what to do."""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """The names closest to a mistyped one, for the end of an error: `" Did you mean a, b or c?"` or ""."""
    names = difflib.get_close_matches(word, list(known), n=count, cutoff=0.4)
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f" Did you mean {listed}?"
