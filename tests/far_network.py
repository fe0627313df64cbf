"""A network of its own on this machine, whose cable can be cut: neither end is told, as with a real one."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator

import pytest

__all__ = ["FarNetwork", "far_network"]


class FarNetwork:
    """What is at the other end of the cable.

    Parameters
    ----------
    name : str
        The name of its namespace, and of the ends of the cable.

    Attributes
    ----------
    address : str
        The address there.
    inside : tuple of str
        What a command begins with that is to run there.
    """

    def __init__(self, name: str) -> None:
        self.inside = ("ip", "netns", "exec", name)
        self._near, self._far = f"{name}n", f"{name}f"
        subnet = f"10.213.{random.randrange(256)}"
        here, self.address = f"{subnet}.1", f"{subnet}.2"
        _run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", name)
        _run("ip", "addr", "add", f"{here}/30", "dev", self._near)
        _run("ip", "link", "set", self._near, "up")
        _run(*self.inside, "ip", "addr", "add", f"{self.address}/30", "dev", self._far)
        for device in ("lo", self._far):
            _run(*self.inside, "ip", "link", "set", device, "up")

    def cut(self, *, outwards: bool = True, inwards: bool = True) -> None:
        """Lose what is sent there, and what is sent from there."""
        if outwards:
            _run("tc", "qdisc", "replace", "dev", self._near, "root", "blackhole")
        if inwards:
            _run(*self.inside, "tc", "qdisc", "replace", "dev", self._far, "root", "blackhole")

    def mend(self) -> None:
        """Lose nothing more."""
        for inside, device in (((), self._near), (self.inside, self._far)):
            command = [*inside, "tc", "qdisc", "del", "dev", device, "root"]
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)  # it may not be cut


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def far_network() -> Iterator[FarNetwork]:
    """Yield a network; skip the test where this user, or this system, can make none."""
    name = f"wpc{os.getpid() % 100_000}"
    try:
        _run("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network namespace can be made here: it takes Linux, root, and iproute2")
    try:
        try:
            network = FarNetwork(name)
            network.cut()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no cable can be laid and cut here: {error}")
        network.mend()
        yield network
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
