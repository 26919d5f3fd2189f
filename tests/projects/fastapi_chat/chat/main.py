"""The app: ``chat.main:app``."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    Form,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

from chat.database import connect, get_database

HERE = Path(__file__).parent
VERSION = "one"

Database = Annotated[sqlite3.Connection, Depends(get_database)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a connection for the streams of this worker."""
    app.state.database = connect()
    print("the chat is open", flush=True)
    yield
    app.state.database.close()
    print("the chat is closed", flush=True)


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key="a key for tests alone")
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
templates = Jinja2Templates(directory=HERE / "templates")


@app.get("/", response_class=HTMLResponse)
def index(request: Request, database: Database) -> HTMLResponse:
    """Show all messages."""
    messages = database.execute("SELECT name, text FROM messages ORDER BY id").fetchall()
    context = {"messages": messages, "name": request.session.get("name"), "version": VERSION}
    return templates.TemplateResponse(request, "index.html", context)


@app.post("/login")
def login(request: Request, name: Annotated[str, Form()]) -> RedirectResponse:
    """Keep the name of the user in the session."""
    request.session["name"] = name
    return RedirectResponse("/", status_code=303)


def write_audit(name: str) -> None:
    """Note that a user has written, after the response was sent."""
    database = connect()
    database.execute("INSERT INTO audit VALUES (?)", [f"{name} has written"])
    database.close()


@app.post("/messages", status_code=201)
def add(
    request: Request, text: Annotated[str, Form()], tasks: BackgroundTasks, database: Database
) -> dict[str, object]:
    """Add a message of the user who is logged in."""
    name = request.session.get("name", "a guest")
    cursor = database.execute("INSERT INTO messages (name, text) VALUES (?, ?)", [name, text])
    tasks.add_task(write_audit, name)
    return {"id": cursor.lastrowid, "name": name, "text": text}


@app.get("/audit")
def audit(database: Database) -> list[str]:
    """List what the background tasks have written."""
    return [line for (line,) in database.execute("SELECT line FROM audit ORDER BY line")]


@app.post("/files")
async def upload(file: UploadFile) -> dict[str, object]:
    """Receive a file."""
    content = await file.read()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": file.filename, "size": len(content), "sha256": digest}


@app.get("/client")
def client(request: Request) -> dict[str, object]:
    """Tell what the app knows of the client and of its own address."""
    assert request.client is not None
    return {"client": request.client.host, "url": str(request.url)}


@app.get("/events")
def events(after: int = 0, limit: int = 0) -> StreamingResponse:
    """Stream the messages as server-sent events, also those that are still to come.

    ``limit``: after how many the stream ends; 0: never.
    """

    async def stream() -> AsyncIterator[str]:
        last, count = after, 0
        yield "retry: 100\n\n"
        while not limit or count < limit:
            query = "SELECT id, name, text FROM messages WHERE id > ? ORDER BY id LIMIT 1"
            for last, name, text in app.state.database.execute(query, [last]):  # noqa: B020
                count += 1
                yield f"id: {last}\nevent: message\ndata: {name}: {text}\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.websocket("/ws/{name}")
async def talk(websocket: WebSocket, name: str) -> None:
    """Echo what the client says, and add it to the messages."""
    await websocket.accept()
    await websocket.send_text(f"hello {name}, version {VERSION}")
    try:
        while True:
            text = await websocket.receive_text()
            if text == "leave":
                await websocket.close(4001, "as you wish")
                return
            query = "INSERT INTO messages (name, text) VALUES (?, ?)"
            app.state.database.execute(query, [name, text])
            await websocket.send_text(f"{name}: {text}")
    except WebSocketDisconnect:
        pass
