"""Notes with attached files: a factory, blueprints, sessions, flashed messages and streams."""

import os
import sqlite3
from pathlib import Path

from flask import Flask, g, render_template

VERSION = "one"


def create_app() -> Flask:
    """Make the app."""
    app = Flask(__name__, instance_relative_config=True)
    app.config.update(
        SECRET_KEY=os.environ.get("SECRET_KEY", "a key for tests alone"),
        MAX_CONTENT_LENGTH=8 << 20,
        VERSION=VERSION,
    )
    Path(app.instance_path, "files").mkdir(parents=True, exist_ok=True)

    from notes import files, pages  # they read what is above

    app.register_blueprint(pages.blueprint)
    app.register_blueprint(files.blueprint, url_prefix="/files")
    app.cli.command("create-tables")(lambda: create_tables(app))
    app.teardown_appcontext(_close)

    @app.errorhandler(404)
    def not_found(error: Exception) -> tuple[str, int]:
        return render_template("base.html", title="There is no such page"), 404

    return app


def database(app: Flask) -> sqlite3.Connection:
    """Return the connection of this request."""
    if "database" not in g:
        path = Path(app.instance_path, "notes.sqlite3")
        g.database = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection: sqlite3.Connection = g.database
    return connection


def create_tables(app: Flask) -> None:
    """Make the table of the notes."""
    with app.app_context():
        query = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text)"
        database(app).execute(query)


def _close(error: BaseException | None) -> None:
    if (connection := g.pop("database", None)) is not None:
        connection.close()
