"""Frames over a socket with TLS, with real certificates."""

import contextlib
import json
import os
import select
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Certificate
from wpc_magic.pool.wire.channel import BadFrame, frame, send_all
from wpc_magic.pool.wire.tls import Session, context_of, private_file, server_context
from wpc_magic.pool.wire.tls_channel import SealingSocket, TlsChannel, TlsReader, TlsSocket, accept

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

LIMIT_S = 60


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.issue("ours")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Certificate:
    return authority.issue("theirs")


def described(authority: Authority, own: Certificate, **changed: Any) -> dict[str, Any]:
    """Return what `server_context` takes."""
    return {
        "ca": Path(authority.own.file).read_text(),
        "certificate": Path(own.file).read_text(),
        "key": Path(own.key).read_text(),
        "ciphers": "",
        "oldest": 0,
        "newest": 0,
        **changed,
    }


def client_context(authority: Authority, certificate: Certificate | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authority.own.file)
    context.check_hostname = False  # as Dask has it: a cluster has an authority of its own
    if certificate is not None:
        context.load_cert_chain(certificate.file, certificate.key)
    return context


def shake_hands(sock: socket.socket, context: ssl.SSLContext, more: list[Any] | None = None) -> TlsSocket:
    """Do what the pool does, on a socket that blocks; send more with the end of the handshake."""
    session = Session(context, server_side=False)
    data = b""
    try:
        while not session.shake_hands(data):
            sock.sendall(session.unsent())
            data = sock.recv(65536)
            assert data
    finally:
        last = session.unsent()
        sealed = b"".join(session.seal(b"".join(more))) if more else b""
        sock.sendall(last + sealed)
    return TlsSocket(sock, session)


class Accepting(threading.Thread):
    """The worker's side of a handshake."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__()
        self._sock, self._context = sock, context
        self.accepted: SealingSocket | None = None
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.accepted = accept(self._sock, self._context)
        except OSError as error:
            self.error = error


@pytest.fixture
def ends(
    authority: Authority, ours: Certificate, theirs: Certificate
) -> Iterator[tuple[TlsChannel, SealingSocket]]:
    one, two = socket.socketpair()
    for sock in (one, two):
        sock.settimeout(LIMIT_S)
    accepting = Accepting(two, server_context(described(authority, theirs)))
    channel = TlsChannel(shake_hands(one, client_context(authority, ours)))
    accepting.join(LIMIT_S)
    assert accepting.accepted is not None
    with contextlib.closing(channel), contextlib.closing(accepting.accepted) as sealing:
        yield channel, sealing


def read_until(channel: TlsChannel, count: int) -> list[Any]:
    """Read as the pool does: only when a poll says that there is something."""
    frames: list[Any] = []
    while len(frames) < count:
        readable, writable, _ = select.select([channel], [channel] if channel.outbox else [], [], LIMIT_S)
        assert readable or writable, "a poll shows nothing, and something is missing"
        if writable:
            channel.flush()
        if readable:
            frames += channel.read()
    return frames


def test_frames_cross_both_ways(ends: tuple[TlsChannel, SealingSocket]) -> None:
    channel, sealing = ends
    reader = TlsReader(sealing)
    assert channel.send(frame(2, 1, 2, 3, b"body")) is True
    assert [(seq, body) for _, _, _, seq, body, _ in reader.read()] == [(3, b"body")]
    send_all(sealing, frame(3, 1, 2, 4, b"answer", [memoryview(b"one"), memoryview(b"two")]))
    ((*_, seq, body, buffers),) = read_until(channel, 1)
    assert (seq, bytes(body), [bytes(each) for each in buffers]) == (4, b"answer", [b"one", b"two"])
    with pytest.raises(BlockingIOError):
        channel.read()


def test_what_arrives_with_the_end_of_a_handshake_is_read_before_a_worker_waits_for_more(
    authority: Authority, ours: Certificate, theirs: Certificate
) -> None:
    one, two = socket.socketpair()
    for sock in (one, two):
        sock.settimeout(LIMIT_S)
    accepting = Accepting(two, server_context(described(authority, theirs)))
    with contextlib.closing(shake_hands(one, client_context(authority, ours), frame(2, 0, 0, 7, b"early"))):
        accepting.join(LIMIT_S)
        assert accepting.accepted is not None
        with contextlib.closing(accepting.accepted) as sealing:
            reader = TlsReader(sealing)
            assert [(seq, body) for _, _, _, seq, body, _ in reader.read()] == [(7, b"early")]
            sealing.setblocking(False)
            with pytest.raises(BlockingIOError):
                reader.read()


def test_small_pieces_are_one_record(ends: tuple[TlsChannel, SealingSocket]) -> None:
    channel, sealing = ends
    pieces = [*frame(2, 0, 0, 1, b"releases"), *frame(2, 0, 0, 2, b"answer", [memoryview(b"buffer")])]

    def is_one_record(sock: socket.socket) -> bool:
        data = socket.socket.recv(sock, 65536, socket.MSG_PEEK)
        return len(data) == 5 + int.from_bytes(data[3:5], "big")

    assert channel.send(pieces) is True
    assert is_one_record(sealing)  # type: ignore[arg-type]
    send_all(sealing, pieces)
    assert is_one_record(channel.sock)  # type: ignore[arg-type]
    assert [one[3] for one in read_until(channel, 2)] == [1, 2]


def test_nothing_that_crosses_can_be_read_on_the_way(
    authority: Authority, ours: Certificate, theirs: Certificate
) -> None:
    one = Session(client_context(authority, ours), server_side=False)
    two = Session(server_context(described(authority, theirs)), server_side=True)
    data, done = b"", False
    while not done:
        one.shake_hands(data)
        done = two.shake_hands(one.unsent())
        data = two.unsent()
    (crossed,) = one.seal(b"what nobody is to see")
    assert b"nobody" not in crossed
    # However it is cut, all that is there is returned.
    assert b"".join(two.open(crossed[n : n + 1]) for n in range(len(crossed))) == (b"what nobody is to see")


def test_a_poll_shows_all_that_was_not_read_however_frames_lie_in_records(
    ends: tuple[TlsChannel, SealingSocket],
) -> None:
    channel, sealing = ends
    # Frames that end in the midst of records, records that end in the midst of frames, and both at once.
    sizes = [0, 1, 16_383, 16_384, 16_385, 100, 300_000, 7, 5, 70_000, 2_000_000, 3, 1 << 20]
    sent = b"".join(
        bytes(piece)
        for seq, size in enumerate(sizes)
        for piece in frame(4, 0, 0, seq, b"x" * (size % 50), [memoryview(bytes([seq]) * size)])
    )
    for step in (len(sent), 999_983, 65_536, 16_384, 5_000):
        sender = threading.Thread(
            target=lambda step=step: [
                sealing.sendall(sent[start : start + step]) for start in range(0, len(sent), step)
            ]
        )
        sender.start()
        frames = read_until(channel, len(sizes))
        sender.join(LIMIT_S)
        assert [(seq, len(buffers[0])) for *_, seq, _, buffers in frames] == list(enumerate(sizes))
        assert all(set(buffers[0][:]) <= {seq} for *_, seq, _, buffers in frames)
        assert not channel.is_torn
        assert not channel.sock.session.has_more


def test_many_small_frames_that_arrive_together_are_read_together(
    ends: tuple[TlsChannel, SealingSocket],
) -> None:
    channel, sealing = ends
    for seq in range(20):
        send_all(sealing, frame(2, 0, 0, seq, b"body"))
    assert [one[3] for one in read_until(channel, 20)] == list(range(20))


def test_large_values_in_both_directions_at_once_do_not_deadlock(
    ends: tuple[TlsChannel, SealingSocket],
) -> None:
    channel, sealing = ends
    body = bytes(range(256)) * (1 << 16)
    received: list[Any] = []

    def serve() -> None:
        reader = TlsReader(sealing)
        sender = threading.Thread(target=send_all, args=(sealing, frame(4, 0, 0, 2, b"", [memoryview(body)])))
        sender.start()  # while this thread reads, as a worker's control thread does
        while not received:
            received.extend(reader.read())
        sender.join(LIMIT_S)

    worker = threading.Thread(target=serve)
    worker.start()
    sent = channel.send(frame(4, 0, 0, 1, b"", [memoryview(body)]))
    assert sent is False
    ((*_, buffers),) = read_until(channel, 1)
    while channel.outbox:
        assert select.select([], [channel], [], LIMIT_S)[1]
        channel.flush()
    worker.join(LIMIT_S)
    assert bytes(buffers[0]) == body
    assert bytes(received[0][5][0]) == body


def test_what_is_queued_does_not_change_with_its_array(ends: tuple[TlsChannel, SealingSocket]) -> None:
    channel, sealing = ends
    array = bytearray(b"a") * 4_000_000
    assert channel.send(frame(4, 0, 0, 1, b"", [memoryview(array)])) is False
    channel.send(frame(2, 0, 0, 2, b"small"))
    array[:] = b"b" * len(array)
    frames: list[Any] = []

    def read() -> None:
        reader = TlsReader(sealing)
        while len(frames) < 2:
            frames.extend(reader.read())

    worker = threading.Thread(target=read)
    worker.start()
    while channel.outbox:
        assert select.select([], [channel], [], LIMIT_S)[1]
        channel.flush()
    worker.join(LIMIT_S)
    assert [one[3] for one in frames] == [1, 2]
    assert set(frames[0][5][0]) == {ord("a")}


def test_a_thread_that_waits_for_a_frame_keeps_no_other_one_from_sending(
    ends: tuple[TlsChannel, SealingSocket],
) -> None:
    channel, sealing = ends
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(TlsReader(sealing).read()))
    reader.start()
    send_all(sealing, frame(2, 0, 0, 5, b"output"))
    assert read_until(channel, 1)[0][3] == 5
    assert reader.is_alive()
    channel.send(frame(2, 0, 0, 6, b"call"))
    reader.join(LIMIT_S)
    assert got[0][3] == 6


def test_bytes_that_the_other_end_has_not_sent_are_no_frame(ends: tuple[TlsChannel, SealingSocket]) -> None:
    channel, sealing = ends
    (sealed,) = sealing.session.seal(b"".join(map(bytes, frame(2, 0, 0, 1, b"body"))))
    forged = bytearray(sealed)
    forged[-1] ^= 1
    socket.socket.sendall(sealing, forged)  # type: ignore[arg-type]
    with pytest.raises(BadFrame, match="TLS"):
        channel.read()


def test_the_end_of_a_connection_is_an_end_of_file_after_all_frames(
    ends: tuple[TlsChannel, SealingSocket],
) -> None:
    channel, sealing = ends
    send_all(sealing, frame(2, 0, 0, 1, b"last"))
    sealing.close()
    assert [one[3] for one in read_until(channel, 1)] == [1]
    assert select.select([channel], [], [], LIMIT_S)[0]
    assert channel.read() == []
    assert channel.eof
    assert channel.send(frame(2, 0, 0, 2, b"x" * 1_000_000)) is True


# -- who is refused --------------------------------------------------------------------------------------


def refusal(worker: ssl.SSLContext, client: ssl.SSLContext) -> tuple[OSError | None, OSError]:
    """Return what the pool's side, and the worker's, says of the other one."""
    one, two = socket.socketpair()
    for sock in (one, two):
        sock.settimeout(LIMIT_S)
    with one, two:
        accepting = Accepting(two, worker)
        seen: OSError | None = None
        try:
            with contextlib.closing(shake_hands(one, client)) as connected:
                connected.receive()  # with TLS 1.3 the other end may refuse when this one has accepted it
                connected.session.read(1)
        except OSError as error:
            seen = error
        one.close()
        accepting.join(LIMIT_S)
        assert accepting.error is not None
        assert accepting.accepted is None
    return seen, accepting.error


def test_a_client_without_a_certificate_is_refused(authority: Authority, theirs: Certificate) -> None:
    worker = server_context(described(authority, theirs))
    seen, error = refusal(worker, client_context(authority, None))
    assert "certificate required" in str(seen) or "handshake failure" in str(seen)
    assert "peer did not return a certificate" in str(error)


def test_a_client_with_a_certificate_of_another_authority_is_refused(
    authority: Authority, theirs: Certificate, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("impostor")
    seen, error = refusal(server_context(described(authority, theirs)), client_context(authority, stranger))
    assert "unknown ca" in str(seen)
    assert "certificate verify failed" in str(error)


def test_a_client_refuses_a_worker_of_another_authority(
    authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    strangers = Authority(tmp_path, "stranger")
    worker = server_context(described(strangers, strangers.issue("impostor")))
    seen, error = refusal(worker, client_context(authority, ours))
    assert "certificate verify failed" in str(seen)
    assert "unknown ca" in str(error)


def test_an_older_version_of_tls_is_refused(
    authority: Authority, ours: Certificate, theirs: Certificate
) -> None:
    worker = server_context(described(authority, theirs, oldest=int(ssl.TLSVersion.TLSv1_3)))
    client = client_context(authority, ours)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    _, error = refusal(worker, client)
    assert "unsupported protocol" in str(error)


# -- certificates ----------------------------------------------------------------------------------------


def test_certificates_are_handed_over_in_a_file_without_a_name(
    authority: Authority, theirs: Certificate
) -> None:
    one_file = {
        "certificate": Path(theirs.file).read_text() + Path(theirs.key).read_text(),
        "key": "",
        "ciphers": "ECDHE+AESGCM",
        "newest": int(ssl.TLSVersion.TLSv1_2),
    }
    fd = private_file(json.dumps(described(authority, theirs, **one_file)).encode())
    context = context_of(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_texts_that_are_no_certificates_are_an_error(authority: Authority, theirs: Certificate) -> None:
    for changed in (
        {"ca": "nonsense"},
        {"certificate": "nonsense"},
        {"key": "nonsense"},
        {"ciphers": "none"},
    ):
        with pytest.raises(OSError):  # noqa: PT011 - what OpenSSL says of them differs with its version
            server_context(described(authority, theirs, **changed))
