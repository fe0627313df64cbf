"""The functions that workers run in a soak."""

from __future__ import annotations

PLAIN = '''
import os, time
import numpy as np

def echoes(n):
    return n

def naps(n, ms):
    time.sleep(ms / 1000)
    return n

def spins(n, rounds):
    for _ in range(rounds):
        pass
    return n

def fails(n):
    raise ValueError(n)

def says(n):
    print(f"said {n}")
    return n

def swallows(n):
    """Ignore interrupts."""
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass

def dies(n):
    os._exit(3)

def flips(n, array):
    """Write to the argument, and return it."""
    array ^= n % 256
    return array

def makes(n, size):
    return np.full(size, n % 251, np.uint8)

def squares(x):
    return x * x

def stumbles(x):
    if x == 13:
        raise ValueError(x)
    return x

async def awaits(n, steps):
    import asyncio
    for _ in range(steps):
        await asyncio.sleep(0.001)
    return n

async def awaits_and_spins(n, steps):
    import asyncio
    for _ in range(steps):
        await asyncio.sleep(0)
        for _ in range(20_000):
            pass
    return n
'''

CONSTANT = '''
VALUE, ARRAY = wpc_constant("ROUND")
LOADED = int(VALUE), int(ARRAY[0]), int(ARRAY[-1])

class Loaded:
    number = LOADED[0]

def reads_constant(default=int(VALUE)):
    """The round that was defined last, as a value and as an array; and what the cell has made of it."""
    value, array = wpc_constant("ROUND")
    return int(value), int(array[0]), int(array[-1]), *LOADED, Loaded.number, default
'''


def versioned(revision: int) -> str:
    """Return the source of a function that returns its revision; only 50 sources, since modules are kept."""
    return f"def versioned():\n    return {revision % 50}\n"


BROKEN = "def sometimes_broken():\n    return 1\n1 / 0\n"
MENDED = "def sometimes_broken():\n    return 1\n"
