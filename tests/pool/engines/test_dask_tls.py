"""A pool on a Dask cluster with TLS: its own connections are encrypted with the cluster's certificates."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.certificates import Authority
from tests.pool.conftest import HELD, PATIENCE_S, Door, EventListener
from tests.pool.engines.clusters import local_cluster
from tests.proxy import Proxy
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import CallTimeoutError, StartError, WorkerCrashedError

pytestmark = [
    pytest.mark.leaves(reason="a client of Dask keeps connections for later"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]

SOURCE = (
    HELD
    + """
def double(x):
    return 2 * x

def crash(text):
    import os
    print(text)
    os.abort()

def spin():
    while True:
        pass

async def later(x):
    import asyncio
    await asyncio.sleep(0)
    return x
"""
)
LOUD = b"what nobody is to see on the way"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def client(authority: Authority) -> Iterator[Any]:
    with local_cluster(workers=1, threads=2, protocol="tls", security=authority.security()) as client:
        yield client


@pytest.fixture
def pool(make_pool: Any, client: Any) -> WorkerProcedureCall:
    made: WorkerProcedureCall = make_pool(0, SOURCE, engine="dask", client=client)
    return made


class Tapped(Proxy):
    """A network that somebody listens to."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.heard = bytearray()

    def _let_pass(self, piece: bytes) -> bytes:
        self.heard += piece
        return super()._let_pass(piece)


def redirect(monkeypatch: pytest.MonkeyPatch, where: Callable[[dict[str, Any]], tuple[str, int]]) -> None:
    """Have pools connect to another port than that of the host process, of which `where` is told."""
    from wpc_magic.pool.engines.dask.hosts import Host

    connect = Host._connect

    async def connect_elsewhere(host: Host) -> None:
        bind, port = where(host._told)
        host._told = {**host._told, "bind": bind, "port": port}
        await connect(host)

    monkeypatch.setattr(Host, "_connect", connect_elsewhere)


def exercise(pool: WorkerProcedureCall, door: Door) -> None:
    """Do what goes through each of the connections, in both directions, and ends workers."""
    texts: list[str] = []
    pool.output_sink = lambda text: texts.append(text.text)
    assert pool.call.double(b"x" * 3_000_000).result(PATIENCE_S) == b"x" * 6_000_000
    assert list(pool.map("double", range(500))) == [2 * n for n in range(500)]
    awaited = [pool.call.later(n) for n in range(20)]
    assert [each.result(PATIENCE_S) for each in awaited] == list(range(20))

    # A value that is kept stays where it is, and is fetched through a relay of its own.
    kept = pool.call.double.remote(b"z" * 1_000_000)
    assert pool.call.double(kept).result(PATIENCE_S) == b"z" * 4_000_000
    assert kept.result(PATIENCE_S) == kept.result(PATIENCE_S) == b"z" * 2_000_000
    del kept

    # The answers that a worker has sent before it dies arrive before the news of its death, also if it dies
    # with calls that it has not read: that resets its connection.
    answered = [pool.call.double(n) for n in range(100)]
    large = pool.call.double(b"y" * 1_000_000)
    crashing = pool.call.crash("its last words")
    behind = [pool.call.double(n) for n in range(100)]
    assert [each.result(PATIENCE_S) for each in answered] == [2 * n for n in range(100)]
    assert large.result(PATIENCE_S) == b"y" * 2_000_000
    with pytest.raises(WorkerCrashedError, match="SIGABRT"):
        crashing.result(PATIENCE_S)
    assert [each.result(PATIENCE_S) for each in behind] == [2 * n for n in range(100)]
    with pytest.raises(CallTimeoutError):
        pool.call.spin.options(timeout_ms=100)().result(PATIENCE_S)

    future = pool.call.held(door.path)
    visit = door.wait()
    future.cancel()
    visit.wait_until_gone()
    assert pool.call.double(1).result(PATIENCE_S) == 2
    assert "".join(texts) == "its last words\n"


def spawned(events: EventListener) -> Any:
    """Return the event of the first worker that is ready."""
    return next(each for each in events.until("worker_ready") if each.event_name == "worker_spawned")


def test_calls_go_to_the_worker_directly_and_nobody_can_read_them_on_the_way(
    pool: WorkerProcedureCall,
    door: Door,
    listen: Callable[[WorkerProcedureCall], EventListener],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.ExitStack() as closes:
        taps: list[Tapped] = []

        def tap(told: dict[str, Any]) -> tuple[str, int]:
            taps.append(closes.enter_context(Tapped((told["bind"], told["port"]))))
            return taps[-1].address

        redirect(monkeypatch, tap)
        events = listen(pool)
        pool.start_workers(1)
        assert "relayed" not in spawned(events).details
        (tapped,) = taps
        assert tapped.connections == 4
        before = tapped.forwarded
        assert pool.call.double(LOUD * 1000).result(PATIENCE_S) == LOUD * 2000
        assert tapped.forwarded - before > 3000 * len(LOUD)
        exercise(pool, door)
        pool.stop_workers()
        for secret in (LOUD[:10], b"double", b"x" * 20, b"its last words", b"pickle"):
            assert secret not in tapped.heard


def test_all_goes_through_the_connections_of_dask_where_the_port_cannot_be_reached_and_it_is_said(
    pool: WorkerProcedureCall,
    door: Door,
    listen: Callable[[WorkerProcedureCall], EventListener],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as refusing:  # it does not listen
        refusing.bind(("127.0.0.1", 0))
        redirect(monkeypatch, lambda told: refusing.getsockname())
        events = listen(pool)
        pool.start_workers(1)
        assert spawned(events).details["relayed"] is True
        exercise(pool, door)
        pool.stop_workers()


# -- who is refused --------------------------------------------------------------------------------------


def test_a_client_without_a_certificate_is_refused(client: Any) -> None:
    stranger = WorkerProcedureCall(engine="dask", address=client.scheduler.address)
    with pytest.raises(StartError, match="no Dask scheduler can be reached at tls://"):
        stranger.start_workers(1)


def bad_contexts(authority: Authority, folder: Path) -> Iterator[ssl.SSLContext]:
    """Yield what does not show a certificate of the cluster: none, and one of another authority."""
    for certificate in (None, Authority(folder, "stranger").issue("impostor")):
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authority.own.file)
        context.check_hostname = False
        if certificate is not None:
            context.load_cert_chain(certificate.file, certificate.key)
        yield context


def test_a_host_process_refuses_whoever_shows_no_certificate_of_the_cluster_even_with_its_secret(
    pool: WorkerProcedureCall, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wpc_magic.pool.engines.dask import messages

    known: list[dict[str, Any]] = []

    def note(told: dict[str, Any]) -> tuple[str, int]:
        known.append(told)
        return told["bind"], told["port"]

    redirect(monkeypatch, note)
    pool.start_workers(1)
    (told,) = known
    for context in bad_contexts(authority, tmp_path):
        with socket.create_connection((told["bind"], told["port"]), PATIENCE_S) as sock:
            sock.sendall(messages.hello(told["secret"], messages.EVENTS | messages.SECURE, 0))
            # With TLS 1.3, a refusal is seen when something is read.
            with (
                pytest.raises(OSError, match=r"certificate required|unknown ca|handshake failure"),
                context.wrap_socket(sock) as secured,
            ):
                secured.recv(1)
    with socket.create_connection((told["bind"], told["port"]), PATIENCE_S) as sock:
        sock.sendall(messages.hello(b"a guess", messages.EVENTS, 0))
        assert sock.recv(1) == b""
    assert pool.call.double(4).result(PATIENCE_S) == 8


def test_a_worker_refuses_whoever_shows_no_certificate_of_the_cluster(
    make_pool: Any, client: Any, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wpc_magic.pool.engines.dask import hosts

    pool = make_pool(0, SOURCE, engine="dask", client=client, max_restarts_per_worker=1)
    secure = hosts.secured_channels
    contexts = iter(list(bad_contexts(authority, tmp_path)) * 10)

    async def secure_badly(ends: Any, _: Any) -> Any:
        return await secure(ends, next(contexts))

    monkeypatch.setattr(hosts, "secured_channels", secure_badly)
    texts: queue.SimpleQueue[str] = queue.SimpleQueue()
    pool.output_sink = lambda text: texts.put(text.text)
    with pytest.raises(StartError, match="exited with code 70"):
        pool.start_workers(1)
    said = ""
    while not ("peer did not return a certificate" in said and "certificate verify failed" in said):
        said += texts.get(timeout=PATIENCE_S)


# -- the certificates ------------------------------------------------------------------------------------


def test_the_certificates_of_a_cluster_are_taken_from_files_and_from_texts_alike(
    authority: Authority,
) -> None:
    from distributed import Security

    from wpc_magic.pool.engines.dask.host_start import certificates_of

    files = authority.security(tls_min_version=ssl.TLSVersion.TLSv1_3, tls_ciphers="ECDHE+AESGCM")
    names = ("tls_ca_file", "tls_worker_cert", "tls_worker_key")
    texts = Security(
        require_encryption=True,
        tls_ciphers="ECDHE+AESGCM",
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        **{name: Path(getattr(files, name)).read_text() for name in names},
    )
    told = [
        certificates_of(SimpleNamespace(address="tls://127.0.0.1:1", security=each))
        for each in (files, texts)
    ]
    assert told[0] == told[1]
    assert told[0]["oldest"] == ssl.TLSVersion.TLSv1_3
    assert "PRIVATE KEY" in told[0]["key"]
    assert json.loads(json.dumps(told[0])) == told[0]


def test_a_cluster_whose_certificates_nobody_knows_is_reached_by_relay() -> None:
    from distributed import Security

    from wpc_magic.pool.engines.dask.host_start import certificates_of

    nowhere = Security(tls_ca_file="/nowhere", tls_worker_cert="/nowhere", require_encryption=True)
    for security in (Security(), nowhere, object()):
        assert certificates_of(SimpleNamespace(address="tls://127.0.0.1:1", security=security)) is None
    assert certificates_of(SimpleNamespace(address="tcp://127.0.0.1:1", security=Security())) is None
