"""Who is not let in, and what becomes of those who send nonsense: the others never notice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import tempfile

import pytest

from cellspan.engine.codec import encode
from cellspan.engine.errors import ConnectionClosed, InvalidArgument, Refused
from cellspan.engine.messages import PROTOCOL, Heartbeat, Turned
from cellspan.engine.transport import Credentials, connect, handshake, listen
from cellspan.engine.transport.certificates import make_credentials
from cellspan.engine.transport.tls import make_context

from .support import Carrier, Server, connected, hello, run, serving, until


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"protocol": PROTOCOL + 1}, "same version"),
        ({"cluster": "another"}, "another cluster"),
        ({"role": "king"}, "no role"),
    ],
)
def test_a_wrong_hello_is_turned_away_in_words(
    carrier: Carrier, changes: dict[str, object], word: str
) -> None:
    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            with pytest.raises(Refused, match=word):
                await connect(server.address, hello(**changes), carrier.client)
            assert server.hellos == []

    run(check())


def test_the_owner_may_turn_away(carrier: Carrier) -> None:
    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            server.turn = lambda hello: Turned("the cluster is stopping")
            with pytest.raises(Refused, match="is stopping"):
                await connect(server.address, hello(), carrier.client)

    run(check())


async def talk(address: str, carrier: Carrier, data: bytes) -> bytes:
    """Send raw bytes, and return all that comes back until the other side closes."""
    context = None if carrier.client is None else make_context(carrier.client, is_server=False)
    if address.startswith("unix"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
    else:
        host, port = address.removeprefix("tls://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        writer.write(data)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def to_bytes(*messages: object) -> bytes:
    return b"".join(bytes(part) for part in encode(messages))  # type: ignore[arg-type]


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(100),
    "ones": b"\xff" * 100,
    "a frame of nonsense": b"\x04\0\0\0\0\0\0\0\xc1\xc1\xc1\xc1",
    "no Hello": to_bytes(Heartbeat({})),
    "Hello and more": to_bytes(hello(), Heartbeat({})),
    "an oversize Hello": to_bytes(hello(info={"text": "x" * 70_000})),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_gets_nothing_and_one_log_line(
    carrier: Carrier, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    if carrier.address.startswith("memory"):
        pytest.skip("no bytes to be written by hand")

    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as other,
        ):
            assert await talk(server.address, carrier, GARBAGE[what]) == b""
            other.connection.send(Heartbeat({}))
            assert await other.receive(1) == [Heartbeat({})]
            assert len(server.hellos) == 1

    with caplog.at_level(logging.WARNING):
        run(check())
    assert len(caplog.records) == 1


def test_silence_is_not_waited_for(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if carrier.address.startswith("memory"):
        pytest.skip("no silent peer")
    monkeypatch.setattr(handshake, "HELLO_TIMEOUT_S", 0.1)

    async def check() -> None:
        async with serving(carrier.address, carrier.server) as server:
            assert await talk(server.address, carrier, b"\x10") == b""

    with caplog.at_level(logging.WARNING):
        run(check())
    assert "no Hello" in caplog.text


def test_an_end_in_the_middle_of_a_frame_is_an_error(carrier: Carrier) -> None:
    if carrier.address.startswith("memory"):
        pytest.skip("no bytes to be written by hand")

    async def check() -> None:
        async with (
            serving(carrier.address, carrier.server) as server,
            connected(server, carrier.client) as peer,
        ):
            peer.connection._transport.write(to_bytes(Heartbeat({}))[:-1])  # type: ignore[attr-defined]
            peer.connection.close()
            await until(lambda: server.closed)
            assert isinstance(server.closed[0], ConnectionClosed)

    run(check())


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours() -> dict[str, Credentials]:
    return make_credentials("c1", ("scheduler", "client"))


@pytest.fixture(scope="module")
def theirs() -> dict[str, Credentials]:
    return make_credentials("c2", ("scheduler", "client"))


@pytest.mark.parametrize("trusts_server", [True, False])
def test_credentials_of_another_cluster(
    ours: dict[str, Credentials], theirs: dict[str, Credentials], trusts_server: bool
) -> None:
    wrong = theirs["client"]
    if trusts_server:
        wrong = Credentials(ours["client"].ca, wrong.cert, wrong.key)

    async def check() -> None:
        async with serving("tls://127.0.0.1:0", ours["scheduler"]) as server:
            with pytest.raises(Refused, match="connection file"):
                await connect(server.address, hello(), wrong)
            assert server.hellos == []

    run(check())


def test_without_a_certificate_nothing_is_given(ours: dict[str, Credentials]) -> None:
    async def check() -> None:
        async with serving("tls://127.0.0.1:0", ours["scheduler"]) as server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            port = int(server.address.rsplit(":", 1)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(to_bytes(hello()))
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert server.hellos == []

    run(check())


def test_plain_text_on_a_tls_port(ours: dict[str, Credentials]) -> None:
    async def check() -> None:
        async with (
            serving("tls://127.0.0.1:0", ours["scheduler"]) as server,
            connected(server, ours["client"]) as other,
        ):
            plain = Carrier(server.address)
            assert not (await talk(server.address, plain, to_bytes(hello()))).startswith(b"\x81")
            other.connection.send(Heartbeat({}))
            assert await other.receive(1) == [Heartbeat({})]

    run(check())


def test_tls_1_2_is_refused(ours: dict[str, Credentials]) -> None:
    async def check() -> None:
        async with serving("tls://127.0.0.1:0", ours["scheduler"]) as server:
            context = make_context(ours["client"], is_server=False)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            port = int(server.address.rsplit(":", 1)[1])
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=context)

    run(check())


def test_credentials_that_are_none(ours: dict[str, Credentials]) -> None:
    async def check() -> None:
        for wrong in (None, Credentials("x", "y", "z"), Credentials(ours["client"].ca, "", "")):
            with pytest.raises(InvalidArgument, match="credentials"):
                await connect("tls://127.0.0.1:1", hello(), wrong)

    run(check())


def test_a_key_is_not_shown(ours: dict[str, Credentials]) -> None:
    assert "BEGIN" not in repr(ours["client"])


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["", "nonsense", "tcp://127.0.0.1:80", "tls://127.0.0.1", "tls://h:99999", "unix://relative",
     "unix:", "http://x:1", "tls://:80", "memory://"],
)  # fmt: skip
def test_no_address(address: str) -> None:
    with pytest.raises(InvalidArgument, match="no address"):
        run(connect(address, hello()))


def test_nobody_there() -> None:
    with pytest.raises(ConnectionClosed, match="nobody answers"):
        run(connect("unix:///nonexistent/s.sock", hello()))


def test_a_stale_socket() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        with pytest.raises(ConnectionClosed, match="nobody answers"):
            run(connect(f"unix://{path}", hello()))

        async def replace() -> None:
            async with serving(f"unix://{path}") as server, connected(server) as peer:
                assert peer.welcome.peer == 1

        run(replace())


def test_too_long_a_path() -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        run(listen("unix:///tmp/" + "x" * 100, Server().admit, cluster="c1"))


def test_a_listener_that_never_answers() -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as mute:
            mute.bind(f"{folder}/s")
            mute.listen()
            with pytest.raises(ConnectionClosed, match=r"in 0\.2 s"):
                await connect(f"unix://{folder}/s", hello(), timeout_s=0.2)

    run(check())


def test_an_answer_that_is_no_welcome(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        ended = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(to_bytes(Heartbeat({})))
            await reader.read()
            writer.close()
            ended.set()

        with tempfile.TemporaryDirectory() as folder:
            server = await asyncio.start_unix_server(answer, f"{folder}/s")
            with pytest.raises(ConnectionClosed, match="Heartbeat"):
                await connect(f"unix://{folder}/s", hello())
            server.close()
            await ended.wait()

    run(check())
