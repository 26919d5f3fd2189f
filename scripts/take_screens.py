"""Pictures of ``prefork list`` and ``prefork monit``: see scripts/screens.

Three apps run in a home of their own for some seconds; what the two verbs would print of them is
exported by rich, in colour.
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

PICTURES = Path(__file__).parent / "screenshots"
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
    """They run, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.py").write_text(SHOP)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFORK_")}
        environ |= {"PREFORK_HOME": str(folder / "home"), "PWD": name}

        def prefork(*words: str) -> None:
            command = [sys.executable, "-m", "prefork", *words]
            subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)

        try:
            prefork("start", "-w", "3", "-b", "127.0.0.1:0", "--name", "web", "shop:app")
            prefork("start", "-w", "2", "-b", "unix:api.sock", "--name", "api", "shop:app")
            prefork("start", "-w", "1", "--name", "mailer", "--", "sleep", "1000")
            yield Client(folder / "home")
        finally:
            prefork("stop", "all")


def send_requests(address: str, until: float) -> None:
    """One client, who thinks between two requests."""
    client = http.client.HTTPConnection(address)
    while time.monotonic() < until:
        path = random.choice(
            ["/", "/", "/", "/basket", "/nothing", f"/report/{os.urandom(2).hex()}"]
        )
        client.request("GET", path)
        client.getresponse().read()
        time.sleep(0.01)
    client.close()


def export_svg(drawn: RenderableType, name: str, width: int, height: int | None = None) -> None:
    """As SVG. The font is the reader's: nothing is fetched from elsewhere."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(drawn, height=height)
    svg = console.export_svg(title=f"prefork {name}", unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, ", "")
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(f"{PICTURES / name}.svg")


def main() -> None:
    with run_apps() as client:
        (web,) = [app for app in client.apps() if app["name"] == "web"]
        until = time.monotonic() + SECONDS
        words = (web["listening"][0], until)
        threads = [threading.Thread(target=send_requests, args=words) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        look = AppSampler(client)
        while time.monotonic() < until - 2:
            seen = look.sample_apps()
            time.sleep(1)
        export_svg(
            draw(ScreenState(seen, "web", look.recent_log("web")), 110, 28), "monit", 110, 28
        )
        export_svg(render_app_list(client.measured(), 110), "list", 110)
        for thread in threads:
            thread.join()


main()
