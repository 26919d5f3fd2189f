"""The smallest Quart app that reads, writes, streams and sends a file."""

import os
from collections.abc import AsyncIterator

from quart import Quart, Response, current_app, request, send_file

app = Quart(__name__)
done: list[str] = []


@app.before_serving
async def start_up() -> None:
    done.append("startup")


@app.get("/hello/<name>")
async def hello(name: str) -> str:
    return f"Hello {name}, {request.args.get('greeting', '')}!"


@app.post("/sum")
async def total() -> dict[str, int]:
    return {"sum": sum(await request.get_json())}


@app.post("/upload")
async def upload() -> str:
    return str(len((await request.files)["file"].read()))


@app.get("/file")
async def file() -> Response:
    return await send_file(os.environ["FILE"])


@app.get("/stream")
async def stream() -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d " % number

    return Response(pieces())


@app.post("/later/<name>")
async def later(name: str) -> str:
    current_app.add_background_task(task, name)
    return "later"


async def task(name: str) -> None:
    done.append(name)


@app.get("/done")
async def what_was_done() -> list[str]:
    return done


@app.get("/fails")
async def fails() -> str:
    raise LookupError("a bug in the app")
