"""Functions that stay busy until they are interrupted or killed; they report their start by `Begun`."""

SOURCE = """
import asyncio, ctypes, os, threading, time
LOG = []

def _report(begun):
    pipe = os.open(begun, os.O_WRONLY)
    os.write(pipe, b"1")
    os.close(pipe)

def spins(begun):
    try:
        _report(begun)
        while True: pass
    finally:
        LOG.append("cleaned up")

def sleeps(begun):
    try:
        _report(begun)
        time.sleep(3600)
    finally:
        LOG.append("cleaned up")

def reads(begun):
    read_end, write_end = os.pipe()
    try:
        _report(begun)
        os.read(read_end, 1)
    finally:
        os.close(read_end), os.close(write_end)
        LOG.append("cleaned up")

def catches_what_it_can(begun):
    while True:
        try:
            _report(begun)
            time.sleep(3600)
        except Exception:
            LOG.append("swallowed")
        finally:
            LOG.append("cleaned up")

def swallows_one(begun):
    try:
        _report(begun)
        time.sleep(3600)
    except BaseException as error:
        LOG.append(type(error).__name__)
    time.sleep(3600)

def cleans_up_slowly(begun):
    try:
        _report(begun)
        time.sleep(3600)
    finally:
        time.sleep(0.2)  # longer than it takes until the next interrupt
        LOG.append("cleaned up")

async def awaits(begun):
    try:
        _report(begun)
        await asyncio.sleep(3600)
    finally:
        LOG.append("cleaned up")

async def cleans_up_in_steps(begun):
    try:
        _report(begun)
        await asyncio.sleep(3600)
    finally:
        time.sleep(0.2)  # longer than it takes until the next interrupt
        await asyncio.sleep(0)
        LOG.append("cleaned up")

async def has_a_task_that_cleans_up_in_steps(begun):
    await asyncio.gather(cleans_up_in_steps(begun))

async def never_awaits(begun):
    try:
        _report(begun)
        while True: pass
    finally:
        LOG.append("cleaned up")

async def never_awaits_and_cleans_up_in_steps(begun):
    try:
        _report(begun)
        while True: pass
    finally:
        await asyncio.sleep(0.1)
        LOG.append("cleaned up")

async def spins_and_reports_twice(begun):
    try:
        _report(begun)
        while True: pass
    finally:
        _report(begun)
        time.sleep(0.2)
        LOG.append("cleaned up")

async def has_a_task_that_never_awaits(begun):
    await asyncio.gather(never_awaits(begun))

def swallows_all(begun, sleep=time.sleep):
    reported = False
    while True:
        try:
            if not reported:
                reported = True
                _report(begun)
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
