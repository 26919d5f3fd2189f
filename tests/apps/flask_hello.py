"""The smallest Flask app that reads and writes."""

from flask import Flask, request

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


@app.get("/fails")
def fails() -> str:
    raise LookupError("a bug in the app")
