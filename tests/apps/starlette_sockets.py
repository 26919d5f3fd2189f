"""A Starlette app with WebSockets, as its documentation writes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

left: list[int] = []


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, str]]:
    """The values that it yields are in the state of each connection."""
    yield {"greeting": "hello"}


async def chat(websocket: WebSocket) -> None:
    """JSON both ways, until the client leaves."""
    await websocket.accept(subprotocol="chat", headers=[(b"x-server", b"starlette")])
    await websocket.send_text(f"{websocket.state.greeting} {websocket.path_params['name']}")
    try:
        while True:
            await websocket.send_json({"got": await websocket.receive_json()})
    except WebSocketDisconnect as leaving:
        left.append(leaving.code)


class Counter(WebSocketEndpoint):
    """Bytes in, their number out."""

    encoding = "bytes"

    async def on_receive(self, websocket: WebSocket, data: bytes) -> None:
        """One message."""
        await websocket.send_bytes(str(len(data)).encode())


async def leavers(websocket: WebSocket) -> None:
    """The codes with which clients left the chat."""
    await websocket.accept()
    await websocket.send_json(left)
    await websocket.close(code=4000, reason="that was all")


async def iterates(websocket: WebSocket) -> None:
    """Does not catch the exception that Starlette raises when the client leaves."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())


async def denied(websocket: WebSocket) -> None:
    """A response instead."""
    await websocket.send_denial_response(JSONResponse({"who": "are you"}, status_code=401))


async def raises(_websocket: WebSocket) -> None:
    """An HTTP error instead."""
    raise HTTPException(status_code=418)


app = Starlette(
    routes=[
        WebSocketRoute("/chat/{name}", chat),
        WebSocketRoute("/count", Counter),
        WebSocketRoute("/leavers", leavers),
        WebSocketRoute("/iterates", iterates),
        WebSocketRoute("/denied", denied),
        WebSocketRoute("/raises", raises),
    ],
    lifespan=lifespan,
)
