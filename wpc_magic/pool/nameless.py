"""How Python calls a text that has no name of its own."""

from __future__ import annotations

__all__ = ["NAMELESS"]

NAMELESS = frozenset({"<string>", "<stdin>"})
"""What stands for the file of such code. All of these texts share it, so what `linecache` has for it are the
lines of one of them: since Python 3.13 the text of ``python -c``, also for whatever `exec` compiles."""
