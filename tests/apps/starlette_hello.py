"""The smallest Starlette app that uses what it has of its own: streams, files, tasks, sessions."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

done: list[str] = []


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "Hello"}
    done.append("shutdown")


async def hello(request: Request) -> Response:
    name, greeting = request.path_params["name"], request.query_params.get("greeting", "")
    return PlainTextResponse(f"{request.state.greeting} {name}, {greeting}!")


async def total(request: Request) -> Response:
    return JSONResponse({"sum": sum(await request.json())})


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file: Any = form["file"]
        return PlainTextResponse(str(file.size))


async def echo(request: Request) -> Response:
    return StreamingResponse(request.stream())


async def file(request: Request) -> Response:
    return FileResponse(os.environ["FILE"], filename="a.bin")


async def stream(request: Request) -> Response:
    """In a thread, because it is a plain generator."""

    def pieces() -> Iterator[str]:
        for number in range(3):
            yield f"{number} "

    return StreamingResponse(pieces())


async def endless(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            done.append("endless is closed")

    return StreamingResponse(pieces())


async def listen(request: Request) -> Response:
    done.append("listening")
    try:
        async for _ in request.stream():
            pass
    except ClientDisconnect:
        done.append("disconnected")
    return Response()


async def later(request: Request) -> Response:
    task = BackgroundTask(done.append, request.path_params["name"])
    return PlainTextResponse("later", background=task)


async def what_was_done(request: Request) -> Response:
    return JSONResponse(done)


async def fails(request: Request) -> Response:
    raise LookupError("a bug in the app")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/hello/{name}", hello),
        Route("/sum", total, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/echo", echo, methods=["POST"]),
        Route("/file", file),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/listen", listen, methods=["POST"]),
        Route("/later/{name}", later, methods=["POST"]),
        Route("/done", what_was_done),
        Route("/fails", fails),
    ],
)
