"""Functions that stay busy until something ends them; they say by a pipe, `Begun`, that they have begun."""

SOURCE = """
import asyncio, ctypes, os, threading, time
LOG = []

def _tell(begun):
    way = os.open(begun, os.O_WRONLY)
    os.write(way, b"1")
    os.close(way)

def spins(begun):
    try:
        _tell(begun)
        while True: pass
    finally:
        LOG.append("cleaned up")

def sleeps(begun):
    try:
        _tell(begun)
        time.sleep(3600)
    finally:
        LOG.append("cleaned up")

def reads(begun):
    theirs, ours = os.pipe()
    try:
        _tell(begun)
        os.read(theirs, 1)
    finally:
        os.close(theirs), os.close(ours)
        LOG.append("cleaned up")

def catches_what_it_can(begun):
    while True:
        try:
            _tell(begun)
            time.sleep(3600)
        except Exception:
            LOG.append("swallowed")
        finally:
            LOG.append("cleaned up")

def swallows_one(begun):
    try:
        _tell(begun)
        time.sleep(3600)
    except BaseException as error:
        LOG.append(type(error).__name__)
    time.sleep(3600)

def cleans_up_slowly(begun):
    try:
        _tell(begun)
        time.sleep(3600)
    finally:
        time.sleep(0.2)  # longer than it takes until the next interrupt
        LOG.append("cleaned up")

async def awaits(begun):
    try:
        _tell(begun)
        await asyncio.sleep(3600)
    finally:
        LOG.append("cleaned up")

async def never_awaits(begun):
    try:
        _tell(begun)
        while True: pass
    finally:
        LOG.append("cleaned up")

async def has_a_task_that_never_awaits(begun):
    await asyncio.gather(never_awaits(begun))

def swallows_all(begun, sleep=time.sleep):
    told = False
    while True:
        try:
            if not told:
                told = True
                _tell(begun)
            sleep(3600)
        except BaseException:
            pass

def holds_the_gil(begun):
    swallows_all(begun, ctypes.PyDLL(None).sleep)

def log():
    found = list(LOG)
    LOG.clear()
    return found

def pid():
    return os.getpid()
"""
