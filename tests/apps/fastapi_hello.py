"""The smallest FastAPI app that reads and writes."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, File, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

done: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "Hello"}


app = FastAPI(lifespan=lifespan)


class Numbers(BaseModel):
    numbers: list[int]


@app.get("/hello/{name}")
async def hello(name: str, request: Request) -> str:
    return f"{request.state.greeting} {name}, {request.query_params.get('greeting', '')}!"


@app.get("/plain")
def plain() -> str:
    """FastAPI runs this one in a thread."""
    return "plain"


@app.post("/sum")
async def total(numbers: Numbers) -> dict[str, int]:
    return {"sum": sum(numbers.numbers)}


@app.post("/upload")
async def upload(file: Annotated[bytes, File()]) -> int:
    return len(file)


@app.get("/file")
async def file() -> FileResponse:
    return FileResponse(os.environ["FILE"])


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d " % number

    return StreamingResponse(pieces())


@app.post("/later/{name}")
async def later(name: str, tasks: BackgroundTasks) -> None:
    tasks.add_task(done.append, name)


@app.get("/done")
async def what_was_done() -> list[str]:
    return done


@app.get("/fails")
async def fails() -> None:
    raise LookupError("a bug in the app")
