"""A real client and a real framework: the client of ``websockets``, and Starlette."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.web_apps import lazy_servers

APPLICATIONS = {"plain": "sockets:app", "starlette": "starlette_sockets:app"}
MESSAGES: list[str | bytes] = [
    "",
    "hello",
    "Zoë 👋",
    b"",
    b"\0\xff",
    "x" * 70_000,
    b"y" * 3_000_000,
]

Conversation = Callable[[ClientConnection], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        folder = tmp_path_factory.mktemp(kind)
        return serving(folder, APPLICATIONS[kind], "--pythonpath", str(APPS))

    with lazy_servers(start) as made:
        yield made


@pytest.fixture
def plain(servers: Callable[[str], Server]) -> Server:
    return servers("plain")


@pytest.fixture
def starlette(servers: Callable[[str], Server]) -> Server:
    return servers("starlette")


def talk(server: Server, path: str, conversation: Conversation, **options: Any) -> None:
    """Connect, run the conversation, and close."""

    async def run() -> None:
        url = f"ws://127.0.0.1:{server.port}{path}"
        async with asyncio.timeout(PATIENCE), connect(url, max_size=None, **options) as client:
            await conversation(client)

    asyncio.run(run())


def refusal(server: Server, path: str) -> tuple[int, bytes]:
    """Return status and body of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        talk(server, path, do_nothing)
    response = caught.value.response
    return response.status_code, response.body or b""


async def do_nothing(_client: ClientConnection) -> None:
    """Do nothing after the handshake."""


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_in_both_directions(plain: Server, compression: str | None) -> None:
    async def echo(client: ClientConnection) -> None:
        compressed = "Sec-WebSocket-Extensions" in client.response.headers  # type: ignore[union-attr]
        assert compressed == (compression is not None)
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message
        for message in MESSAGES[:-1]:
            await client.send(message)
        for message in MESSAGES[:-1]:
            assert await client.recv() == message
        await client.send(iter(["in ", "three ", "parts"]))
        assert await client.recv() == "in three parts"

    talk(plain, "/echo", echo, compression=compression)


def test_pings_and_pongs(plain: Server) -> None:
    async def ping(client: ClientConnection) -> None:
        await (await client.ping(b"payload"))
        await client.pong(b"unsolicited")
        await (await client.ping())

    talk(plain, "/echo", ping)


def test_the_client_closes(plain: Server) -> None:
    async def close(client: ClientConnection) -> None:
        await client.close(4001, "enough")
        assert (client.close_code, client.close_reason) == (4001, "enough")

    talk(plain, "/echo", close)


def test_the_app_closes(plain: Server) -> None:
    async def read(client: ClientConnection) -> None:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4321, "because of 4321")

    talk(plain, "/closes/4321", read)


def test_the_app_refuses(plain: Server) -> None:
    assert refusal(plain, "/forbidden")[0] == 403
    assert refusal(plain, "/refused/503") == (503, b"not now")


def test_a_fast_sender_and_a_slow_reader(plain: Server) -> None:
    async def flood(client: ClientConnection) -> None:
        async def send() -> None:
            for number in range(2000):
                await client.send(str(number) + "x" * 5000)

        sending = asyncio.create_task(send())
        for number in range(2000):
            assert str(await client.recv()).startswith(f"{number}x")
        await sending

    talk(plain, "/echo", flood, compression=None)


def test_many_clients_at_once(plain: Server) -> None:
    async def one(number: int) -> None:
        async with connect(f"ws://127.0.0.1:{plain.port}/echo/{number}") as client:
            for message in ("a", "b", str(number)):
                await client.send(message)
                assert await client.recv() == message

    async def all_of_them() -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(one(number) for number in range(100)))

    asyncio.run(all_of_them())


def test_starlette_chats(starlette: Server) -> None:
    async def chat(client: ClientConnection) -> None:
        assert client.subprotocol == "chat"
        assert client.response.headers["x-server"] == "starlette"  # type: ignore[union-attr]
        assert await client.recv() == "hello Zoë"
        await client.send('{"a": 1}')
        assert json.loads(await client.recv()) == {"got": {"a": 1}}
        await client.close(4002)

    talk(starlette, "/chat/Zo%C3%AB", chat, subprotocols=["other", "chat"])
    wait_for(lambda: 4002 in leavers(starlette), "the app knows with what code its client left")


def leavers(server: Server) -> list[int]:
    codes: list[int] = []

    async def ask(client: ClientConnection) -> None:
        codes.extend(json.loads(await client.recv()))
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4000, "that was all")

    talk(server, "/leavers", ask)
    return codes


def test_starlette_counts_and_iterates(starlette: Server) -> None:
    async def count(client: ClientConnection) -> None:
        for size in (0, 1, 100_000):
            await client.send(bytes(size))
            assert await client.recv() == str(size).encode()

    async def shout(client: ClientConnection) -> None:
        await client.send("zoë")
        assert await client.recv() == "ZOË"

    talk(starlette, "/count", count)
    talk(starlette, "/iterates", shout)


def test_starlette_refuses(starlette: Server) -> None:
    assert refusal(starlette, "/denied") == (401, b'{"who":"are you"}')
    assert refusal(starlette, "/raises")[0] == 418
    assert refusal(starlette, "/nowhere")[0] == 403


def test_the_logs_have_no_warnings(servers: Callable[[str], Server]) -> None:
    for kind in APPLICATIONS:
        assert not servers(kind).count("gone:|WARNING|ERROR|never retrieved")
