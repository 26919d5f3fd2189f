"""Files that are attached to notes."""

from pathlib import Path

from flask import Blueprint, Response, current_app, request, send_from_directory
from werkzeug.utils import secure_filename

blueprint = Blueprint("files", __name__)


def folder() -> Path:
    """Return the folder of the files."""
    return Path(current_app.instance_path, "files")


@blueprint.post("/")
def upload() -> dict[str, object]:
    """Receive a file."""
    file = request.files["file"]
    name = secure_filename(file.filename or "")
    file.save(folder() / name)
    return {"name": name, "size": (folder() / name).stat().st_size}


@blueprint.get("/<name>")
def download(name: str) -> Response:
    """Send a file."""
    return send_from_directory(folder(), name, as_attachment=True)
