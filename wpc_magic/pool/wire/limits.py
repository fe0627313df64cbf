"""What the pool and its workers keep the same amount of."""

from __future__ import annotations

__all__ = [
    "MAX_AHEAD",
    "MAX_AHEAD_BYTES",
    "MAX_BUFFER",
    "MAX_BUFFERS",
    "MAX_HELD",
    "MAX_HELD_SIZE",
    "MAX_PAYLOAD",
    "MAX_TEXTS",
    "MAX_TEXTS_SIZE",
]

MAX_BUFFERS = 65_000
"""How many buffers a frame has at most, which counts them in 16 bits."""

MAX_TEXTS = 2_000
MAX_TEXTS_SIZE = 8_000_000
"""How many texts of cells are kept, and how many characters in all; those that are in use always."""

MAX_HELD = 256
MAX_HELD_SIZE = 16 << 20
"""How many anonymous functions a worker holds, and how many bytes their pickles have in all."""
MAX_PAYLOAD = 1 << 20
"""How large the pickle of one may be, in bytes: a larger one is sent with each call, in shared memory."""
MAX_AHEAD = 1_000
MAX_AHEAD_BYTES = 1 << 24
"""How far a stream may be ahead of its caller, in items and in bytes, if no buffer was given."""

MAX_BUFFER = 1 << 20
"""The largest buffer of a stream, in items."""
