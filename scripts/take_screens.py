"""Takes the pictures of ``prefork list`` and ``prefork monit`` for the manual (scripts/screens).

Three apps run in a temporary home and get requests for some seconds. The functions that draw the
output of the two verbs then draw it once more, and rich exports it as SVG.
"""

import http.client
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType

from prefork import Client
from prefork.cli.registry.snapshot import AppSampler
from prefork.cli.view.app_table import render_app_list
from prefork.cli.view.monit_screen import ScreenState, draw

PICTURES = Path(__file__).parents[1] / "prefork/docs/pictures"
SECONDS = 20
CLIENTS = 6

SHOP = """\
import random, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/report"):
        time.sleep(random.uniform(0.02, 0.06))
        print("report for", path.removeprefix("/report/"), flush=True)
    status = "404 Not Found" if path == "/nothing" else "200 OK"
    start_response(status, [("Content-Length", "2048")])
    return [b"x" * 2048]
"""


@contextmanager
def run_apps() -> Iterator[Client]:
    """Run the apps in a temporary folder and yield a client of their home."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.py").write_text(SHOP)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFORK_")}
        environ |= {"PREFORK_HOME": str(folder / "home"), "PWD": name}

        def prefork(*arguments: str) -> None:
            command = [sys.executable, "-m", "prefork", *arguments]
            subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)

        try:
            prefork("start", "-w", "3", "-b", "127.0.0.1:0", "--name", "web", "shop:app")
            prefork("start", "-w", "2", "-b", "unix:api.sock", "--name", "api", "shop:app")
            prefork("start", "-w", "1", "--name", "mailer", "--", "sleep", "1000")
            yield Client(folder / "home")
        finally:
            prefork("stop", "all")


def send_requests(address: str, until: float) -> None:
    """Send requests on one connection, 10 ms apart, until `time.monotonic()` is `until`."""
    client = http.client.HTTPConnection(address)
    while time.monotonic() < until:
        path = random.choice(
            ["/", "/", "/", "/basket", "/nothing", f"/report/{os.urandom(2).hex()}"]
        )
        client.request("GET", path)
        client.getresponse().read()
        time.sleep(0.01)
    client.close()


def export_svg(content: RenderableType, name: str, width: int, height: int | None = None) -> None:
    """Write `content` as an SVG file; `width` and `height` are in characters.

    The font is one that the reader has: the web font that rich refers to is removed, so that the
    picture loads nothing from other servers.
    """
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(content, height=height)
    svg = console.export_svg(title=f"prefork {name}", unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, ", "")
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(f"{PICTURES / name}.svg")


def main() -> None:
    """Run the apps under load and export both pictures."""
    with run_apps() as client:
        (web,) = [app for app in client.apps() if app["name"] == "web"]
        until = time.monotonic() + SECONDS
        arguments = (web["listening"][0], until)
        threads = [threading.Thread(target=send_requests, args=arguments) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        sampler = AppSampler(client)
        while time.monotonic() < until - 2:
            apps = sampler.sample_apps()
            time.sleep(1)
        export_svg(
            draw(ScreenState(apps, "web", sampler.recent_log("web")), 110, 28), "monit", 110, 28
        )
        export_svg(render_app_list(client.measured(), 110), "list", 110)
        for thread in threads:
            thread.join()


main()
