"""The page of the status server in a real browser, with the screens of a phone and a desktop."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from prefork.observe.status.scoreboard_view import COLUMNS
from tests.live.browser import CHROMIUM, Page, chromium
from tests.live.harness import Server, serving, wait_for
from tests.live.status_server import APP, STATUS, TOKEN, readiness, status_port

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

SIZES = {"phone": (390, 844, True), "desktop": (1280, 800, False)}
TITLES = [
    *("Slot", "State", "Load"),
    *(column["title"] for column in COLUMNS),
    *("Memory", "Gen", "Pid", "Age"),
]
HARM = "<img src=x onerror=alert(1)><script>alert(2)</script>"

SPEAKS = f"""
def harm(environ, start_response):
    print({HARM!r}, flush=True)
    return app(environ, start_response)
"""


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as made:
        made.size(*SIZES[request.param])
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "web.py").write_text(APP + SPEAKS)
    (tmp_path / "token").write_text(TOKEN)
    return tmp_path


def watching(folder: Path, *options: str) -> Any:
    return serving(folder, "web:harm", *STATUS, "--log-dir", "logs", *options, workers=2)


def rows(number: int) -> str:
    return f"document.querySelectorAll('#slots tbody tr').length === {number}"


def open_page(page: Page, server: Server) -> None:
    page.open(f"http://127.0.0.1:{status_port(server)}/")
    page.wait(rows(2))


def says(selector: str, text: str) -> str:
    shown = f"document.querySelector({json.dumps(selector)}).textContent"
    return f"{shown}.includes({json.dumps(text)})"


def is_hidden(page: Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.querySelector({json.dumps(selector)}).hidden"))


def check_quiet(page: Page, server: Server) -> None:
    """Check that there are no errors, no foreign resources, and no horizontal scrolling."""
    assert page.console_errors() == []
    assert {urlsplit(url).netloc for url in page.requests()} == {f"127.0.0.1:{status_port(server)}"}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def keep_picture(page: Page, folder: Path, name: str) -> None:
    """Save a screenshot for the manual in the folder PREFORK_PICTURES."""
    width = page.evaluate("innerWidth")
    page.save_screenshot(
        Path(os.environ.get("PREFORK_PICTURES", folder)) / f"status-{name}-{width}.png"
    )


def test_the_page_shows_events_as_they_happen(page: Page, folder: Path) -> None:
    with watching(folder) as server:
        open_page(page, server)
        assert "2 of 2 workers" in page.text("header")
        assert is_hidden(page, "#actions")
        server.get("/")
        page.wait(says("#log", HARM))
        page.wait("document.querySelectorAll('.chart path.one')[0].getAttribute('d').length > 20")
        page.wait(
            "[...document.querySelectorAll('#slots [data-label=Answered]')]"
            ".some(cell => cell.textContent === '1')"
        )
        titles = "[...document.querySelectorAll('#slots th')].map(cell => cell.textContent)"
        assert page.evaluate(titles) == TITLES
        with pytest.raises(OSError):  # noqa: PT011 - the type varies
            server.get("/dies")
        page.wait(says("#deaths", "exited by itself (exit code 3)"))
        assert page.evaluate("document.querySelectorAll('#log img, #log script').length") == 0
        check_quiet(page, server)
        keep_picture(page, folder, "open")


def test_with_the_token_the_page_reloads_and_scales(page: Page, folder: Path) -> None:
    with watching(folder, "--status-token", "file:token") as server:
        open_page(page, server)
        assert not is_hidden(page, "#unlock")
        assert is_hidden(page, "#unlocked")
        page.wait(says("#no-log", "unlock it with the token"))
        unlock(page, "not the token")
        page.wait(says("#outcome", "The token is wrong"))
        assert is_hidden(page, "#unlocked")

        unlock(page, TOKEN)
        page.wait("!document.querySelector('#unlocked').hidden")
        click(page, "#more")
        page.wait(rows(3))
        click(page, "#reload")
        server.wait_log("reloaded to gen 2")
        page.wait(says("#outcome", "Done."))
        page.wait(says("#about", "generation 2"))
        click(page, "#fewer")
        page.wait(rows(2))
        page.wait(says("#log", "interface"))
        check_quiet(page, server)
        click(page, "#lock")
        page.wait("document.querySelector('#unlocked').hidden")


def test_the_page_shows_a_failed_reload(page: Page, folder: Path) -> None:
    with watching(folder, "--status-token", "file:token") as server:
        open_page(page, server)
        unlock(page, TOKEN)
        page.wait("!document.querySelector('#unlocked').hidden")
        (folder / "broken").touch()
        click(page, "#reload")
        page.wait(says("#outcome", "RuntimeError: the secret is 42"))
        page.wait(says("#state", "reload failed"))
        assert server.get()[0] == 200


def test_the_page_shows_a_missing_server_and_continues_with_a_new_one(
    page: Page, folder: Path
) -> None:
    with watching(folder) as server:
        open_page(page, server)
        port = status_port(server)
        server.stop()
        page.wait(says("#link", "no answer"))
        again = ["-b", "127.0.0.1:0", "-w", "2", "--status", f"127.0.0.1:{port}", "web:harm"]
        other = Server(*again, cwd=folder)
        try:
            wait_for(lambda: readiness(other)[0] == 200, "another master")
            page.wait("document.querySelector('#link').textContent === ''")
            page.wait(says("#about", f"pid {other.pid}"))
        finally:
            other.destroy()


def unlock(page: Page, token: str) -> None:
    page.wait(f"document.querySelector('#token').value = {json.dumps(token)}")
    page.evaluate("document.querySelector('#unlock').requestSubmit()")


def click(page: Page, selector: str) -> None:
    """Click an element as soon as it is visible and enabled."""
    page.wait(f"!document.querySelector({json.dumps(selector)}).disabled")
    page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
