"""A pool on a Dask cluster with TLS, where all goes through the connections of Dask."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.conftest import HELD, PATIENCE_S, Door, EventListener
from tests.pool.engines.clusters import local_cluster
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
"""
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from distributed import Security

    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    pairs = {f"tls_{who}_cert": certificate for who in ("client", "scheduler", "worker")}
    keys = {f"tls_{who}_key": key for who in ("client", "scheduler", "worker")}
    security = Security(tls_ca_file=certificate, require_encryption=True, **pairs, **keys)
    with local_cluster(workers=1, threads=2, protocol="tls", security=security) as client:
        yield client


@pytest.fixture
def pool(make_pool: Any, client: Any) -> WorkerProcedureCall:
    made: WorkerProcedureCall = make_pool(0, SOURCE, engine="dask", client=client)
    return made


def test_all_goes_through_the_encrypted_connections_and_it_is_said(
    pool: WorkerProcedureCall, door: Door, listen: Callable[[WorkerProcedureCall], EventListener]
) -> None:
    events = listen(pool)
    pool.start_workers(1)
    (spawned,) = [each for each in events.until("worker_ready") if each.event_name == "worker_spawned"]
    assert spawned.details["relayed"] is True
    texts: list[str] = []
    pool.output_sink = lambda text: texts.append(text.text)
    assert pool.call.double(b"x" * 3_000_000).result(PATIENCE_S) == b"x" * 6_000_000
    assert list(pool.map("double", range(500))) == [2 * n for n in range(500)]

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


def test_a_client_without_a_certificate_is_refused(client: Any) -> None:
    stranger = WorkerProcedureCall(engine="dask", address=client.scheduler.address)
    with pytest.raises(StartError, match="no Dask scheduler can be reached at tls://"):
        stranger.start_workers(1)
