"""The list of notes, and a stream of all."""

from collections.abc import Iterator

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from notes import database

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """Show the notes, and how often this client came."""
    session["visits"] = session.get("visits", 0) + 1
    notes = database(current_app).execute("SELECT text FROM notes ORDER BY id").fetchall()
    return render_template("notes.html", title="Notes", notes=notes)


@blueprint.post("/add")
def add() -> AnyResponse:
    """Add a note."""
    text = request.form["text"]
    database(current_app).execute("INSERT INTO notes (text) VALUES (?)", [text])
    flash(f"added {text}")
    return redirect(url_for("pages.index"))


@blueprint.get("/notes.txt")
def export() -> Response:
    """Stream the notes, a line each."""

    def lines() -> Iterator[str]:
        yield f"notes for {request.host_url}\n"
        for (text,) in database(current_app).execute("SELECT text FROM notes ORDER BY id"):
            yield f"{text}\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")
