"""The shortest path through the whole server: start, answer, stop."""

from pathlib import Path

from prefork._speed import BUILD
from tests.live.harness import serving


def test_each_interface_of_the_demo_answers(tmp_path: Path) -> None:
    for interface in ("wsgi", "asgi", "main"):
        with serving(tmp_path, f"prefork.demo:{interface}", workers=2) as server:
            status, body = server.get()
            assert status == 200
            assert body.startswith(b"Hello from prefork: worker ")
            assert server.stop() == 0


def test_the_tests_serve_with_the_build_in_which_they_run(tmp_path: Path) -> None:
    with serving(tmp_path, "prefork.demo:wsgi") as server:
        server.wait_log(f"listening on .*, {BUILD}$")
