"""The smallest Flask app that reads and writes."""

import os
from collections.abc import Iterator

from flask import Flask, Response, request, send_file, stream_with_context

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name: str) -> str:
    return f"Hello {name}, {request.args.get('greeting', '')}!"


@app.post("/sum")
def total() -> dict[str, int]:
    return {"sum": sum(request.get_json())}


@app.post("/upload")
def upload() -> str:
    return str(len(request.files["file"].read()))


@app.get("/file")
def file() -> Response:
    return send_file(os.environ["FILE"], conditional=True)


@app.get("/stream")
def stream() -> Response:
    def pieces() -> Iterator[str]:
        for number in range(int(request.args.get("count", "3"))):
            yield f"{number} "

    return Response(stream_with_context(pieces()))


@app.get("/fails")
def fails() -> str:
    raise LookupError("a bug in the app")
