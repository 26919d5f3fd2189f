"""The table of app interfaces: how a worker calls what it serves. PURE.

An entry names the two classes that know all about one interface. The detector tells whether an app
has it (worker/interface.py). The service starts and stops the app of one worker, and says how many
calls run at a time and whether a call blocks the event loop (worker/http_app.py). The values of
``--interface``, their help, the detection and the import before the fork follow from the table.

Design
------
- **Classes are named as text, "module:class".** The names of the interfaces are needed below the
  worker, by the options, and only a process that serves such an app imports its service. gunicorn's
  ``SUPPORTED_WORKERS`` and uvicorn's ``HTTP_PROTOCOLS`` are such tables. Rejected: a class that
  registers itself when it is imported, because the table would depend on what has been imported.
- **Two classes, because detection is needed where nothing is served:** ``--check`` would take
  100 ms more of CPU if it imported the services.
- **The order counts:** the first interface that an app fits is taken.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InterfaceEntry:
    """One app interface. ``name``: the value of ``--interface``. ``text``: the name and what it is
    for, in the help. ``service`` and ``detector``: its classes.

    Without a detector it is the interface of the command after ``--``.
    """

    name: str
    text: str
    service: str
    detector: str = ""


INTERFACES = (
    InterfaceEntry(
        "wsgi",
        "wsgi",
        service="prefork.worker.wsgi.wsgi_service:WsgiService",
        detector="prefork.worker.wsgi.wsgi_detector:WsgiDetector",
    ),
    InterfaceEntry(
        "asgi",
        "asgi",
        service="prefork.worker.asgi.asgi_service:AsgiService",
        detector="prefork.worker.asgi.asgi_detector:AsgiDetector",
    ),
    InterfaceEntry(
        "socket",
        "socket for main(listener)",
        service="prefork.worker.main.main_service:MainService",
        detector="prefork.worker.main.main_detector:MainDetector",
    ),
    InterfaceEntry(
        "program",
        "a program in any language",
        service="prefork.worker.program_service:ProgramService",
    ),
)

APP_INTERFACES = {entry.name: entry for entry in INTERFACES if entry.detector}
"""The interfaces of Python callables, by name."""

COMMAND_INTERFACE = next(entry for entry in INTERFACES if not entry.detector)
"""The interface of a command."""


def list_app_interfaces() -> str:
    """Return the interfaces of Python callables as a part of a sentence: "a, b, or c"."""
    *others, last = (entry.text for entry in APP_INTERFACES.values())
    return f"{', '.join(others)}, or {last}"
