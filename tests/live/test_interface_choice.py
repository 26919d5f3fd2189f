"""How an app is named, found and called, by ``--check`` and by a server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.harness import APPS, PATIENCE, Server, command, serving

Checks = dict[str, tuple[int, str]]

WSGI = [
    *("wsgi_function", "wsgi_more", "wsgi_lambda", "wsgi_instance", "wsgi_method"),
    *("wsgi_static", "wsgi_class", "wsgi_partial", "wsgi_decorated", "wsgi_wrapped"),
    *("wsgi_wrapped_method", "wsgi_responder", "wsgi_validator"),
    "wsgi_descriptor",
]
ASGI = [
    *("asgi_function", "asgi_instance", "asgi_method", "asgi_partial", "asgi_partial_instance"),
    *("asgi_decorated", "asgi_returns_coroutine", "asgi_middleware", "asgi_view"),
    *("asgi_slots", "asgi_double", "asgi_double_class"),
]
SOCKET = ["socket_function", "socket_async", "socket_star", "socket_instance", "socket_partial"]
SOCKET += ["socket_decorated"]


UNFIT = ["no_arguments", "four_arguments", "three_arguments", "async_two_arguments", "anything"]
UNFIT += ["doubtful_responder", "doubtful_view"]

FRAMEWORKS = {
    "flask_hello:app": "wsgi",
    "werkzeug_hello:app": "wsgi",
    "django_hello:wsgi": "wsgi",
    "django_hello:asgi": "asgi",
    "fastapi_hello:app": "asgi",
}

MISSING = {
    "nowhere:app": "there is no module 'nowhere'",
    "shapes.py:app": "write shapes:app",
    "shapes.wsgi_function": "is no module, but in the module shapes: write shapes:wsgi_function",
    "shapes.make_app('a.b')": "write shapes:make_app('a.b')\n",
    "shapes.nowhere": "there is no module 'shapes.nowhere'",
    "shapes:wsgi_functio": "did you mean wsgi_function?",
    "shapes:holder.outer": "has no 'outer'",
    "shapes:number": "is a int, which cannot be called",
    "shapes:make_nothing()": "is a NoneType, which cannot be called",
    "shapes:make_trouble()": "LookupError: no parts left",
    "shapes:make_app(1 + number)": "literal arguments only",
    "shapes:make_app(bad=1)": "TypeError",
}


def check(cwd: Path, *words: str) -> tuple[int, str]:
    """Run ``--check``; return the exit code and the output."""
    done = command("--check", "--pythonpath", str(APPS), *words, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


# One interpreter for many checks. Each loads its app in a process of its own, as always.
MANY = """
import sys
from prefork.cli.command import main
apps, *names = sys.argv[1:]
for name in names:
    print("=", name, flush=True)
    code = main(["--check", "--pythonpath", apps, name])
    print("->", code, flush=True)
"""


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    """The exit code and the output of each check, by the name of the app."""
    names = [f"shapes:{name}" for name in WSGI + ASGI + SOCKET + UNFIT]
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(APPS), *names, *FRAMEWORKS, *MISSING],
        cwd=tmp_path_factory.mktemp("checks"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    said = re.findall(r"^= (.*)\n([\s\S]*?)^-> (\d+)$", done.stdout, re.MULTILINE)
    return {name: (int(code), text) for name, text, code in said}


def served(cwd: Path, *words: str) -> bytes:
    """Serve an app and return the body of its answer."""
    *options, app = words
    with serving(cwd, app, "--pythonpath", str(APPS), *options) as server:
        status, body = server.get()
        assert status == 200
        return body


@pytest.mark.parametrize("name", WSGI + ASGI + SOCKET)
def test_an_interface_is_chosen_by_the_shape_of_the_app(checks: Checks, name: str) -> None:
    code, said = checks[f"shapes:{name}"]
    assert code == 0
    assert said.startswith(f"ok: shapes:{name}: {name.partition('_')[0]} (")


@pytest.mark.parametrize("app", FRAMEWORKS)
def test_the_interface_of_frameworks_is_detected(checks: Checks, app: str) -> None:
    code, said = checks[app]
    assert code == 0
    assert said.startswith(f"ok: {app}: {FRAMEWORKS[app]} (")


@pytest.mark.parametrize("name", UNFIT)
def test_a_callable_that_fits_no_interface_is_refused_with_advice(
    checks: Checks, name: str
) -> None:
    code, said = checks[f"shapes:{name}"]
    assert code == 102
    assert "--interface" in said


# One of each kind is served as well, to show that the detected interface is used.
@pytest.mark.parametrize(
    "name",
    [
        *("wsgi_class", "wsgi_partial", "wsgi_decorated", "wsgi_wrapped", "wsgi_responder"),
        *("wsgi_descriptor", "wsgi_validator", "asgi_partial", "asgi_returns_coroutine"),
        *("asgi_view", "asgi_slots", "asgi_double", "asgi_double_class"),
    ],
)
def test_an_app_of_any_shape_is_served(tmp_path: Path, name: str) -> None:
    assert served(tmp_path, f"shapes:{name}") == name.encode()


def test_an_interface_can_be_forced(tmp_path: Path) -> None:
    words = ("--interface", "wsgi", "shapes:anything")
    assert check(tmp_path, *words) == (0, "ok: shapes:anything: wsgi (as asked), 1 worker\n")
    assert served(tmp_path, *words) == b"wsgi_function"
    for interface in ("asgi", "socket"):
        code, said = check(tmp_path, "--interface", interface, "shapes:anything")
        assert (code, said) == (0, f"ok: shapes:anything: {interface} (as asked), 1 worker\n")


def test_an_asgi_2_app_can_be_forced(tmp_path: Path) -> None:
    code, said = check(tmp_path, "--interface", "asgi", "shapes:asgi_double")
    assert (code, said) == (0, "ok: shapes:asgi_double: asgi (as asked (version 2)), 1 worker\n")
    assert served(tmp_path, "--interface", "asgi", "shapes:asgi_double") == b"asgi_double"


@pytest.mark.parametrize("guess", ["app", "application", "main"])
def test_a_module_alone_is_enough_if_its_app_has_a_usual_name(tmp_path: Path, guess: str) -> None:
    (tmp_path / "mine.py").write_text(f"from shapes import wsgi_function as {guess}\n")
    code, said = check(tmp_path, "mine")
    assert (code, said) == (0, "ok: mine: wsgi (2 required arguments), 1 worker\n")


def test_app_is_guessed_before_application_before_main(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from shapes import asgi_function as application, wsgi_function as app\n"
        "from shapes import socket_function as main\n"
    )
    assert "mine: wsgi" in check(tmp_path, "mine")[1]


def test_a_module_without_a_usual_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from shapes import wsgi_function as serve\n")
    code, said = check(tmp_path, "mine")
    assert code == 102
    assert "has none of app, application, main" in said


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["shapes:holder.inner.app"], b"wsgi_instance"),
        (["shapes:make_app()"], b"made 'default' False"),
        (['shapes:make_app("x", debug=True)'], b"made 'x' True"),
        (["--factory", "shapes:make_app"], b"made 'default' False"),
    ],
)
def test_an_app_is_found_by_its_expression(tmp_path: Path, words: list[str], answer: bytes) -> None:
    assert served(tmp_path, *words) == answer


def test_an_app_may_be_in_a_package(tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "inner" / "mine.py").write_text("from shapes import app\n")
    assert check(tmp_path, "package.inner.mine:app")[0] == 0


@pytest.mark.parametrize("app", MISSING)
def test_a_missing_app_ends_with_102_and_a_reason(checks: Checks, app: str) -> None:
    code, said = checks[app]
    assert code == 102
    assert MISSING[app] in said
    assert "/prefork/" not in said


# From Python.

SCRIPT = """
import prefork, sys
if __name__ == "__main__":
    sys.exit(prefork.run("shapes:make_app('run')", bind=["127.0.0.1:0"], pythonpath=[{apps!r}]))
"""


def test_a_script_can_serve(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SCRIPT.format(apps=str(APPS)))
    server = Server(cwd=tmp_path, program=[sys.executable, str(script)])
    try:
        assert server.ready().get() == (200, b"made 'run' False")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_a_script_that_uses_no_result_ends_with_the_exit_code(tmp_path: Path) -> None:
    call = f"prefork.run('shapes:nope', bind=['127.0.0.1:0'], pythonpath=[{str(APPS)!r}])"
    server = Server(cwd=tmp_path, program=[sys.executable, "-c", f"import prefork; {call}"])
    try:
        assert server.wait_exit() == 102
        assert "giving up: worker 0: shapes:nope: shapes has no 'nope'" in server.log
    finally:
        server.destroy()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("prefork.run(print)", "takes the app by name"),
        ("prefork.run('shapes:app', wrokers=2)", "wrokers"),
        ("prefork.run('shapes:app', workers='many')", "workers"),
        ("prefork.run('shapes:app', port=99999)", "port = 99999 is wrong"),
        ("prefork.run('nowhere:app', bind=['127.0.0.1:0'])", "there is no module 'nowhere'"),
    ],
)
def test_a_mistake_in_a_script_is_named(tmp_path: Path, call: str, words: str) -> None:
    server = Server(
        cwd=tmp_path, program=[sys.executable, "-c", f"import prefork, sys; sys.exit({call})"]
    )
    try:
        assert server.wait_exit() in (100, 102)
        assert words in server.log
        assert "prefork/cli/" not in server.log
    finally:
        server.destroy()
