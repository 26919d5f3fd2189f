"""A headless Chromium, driven by its DevTools protocol: open a page, inspect it, take a
screenshot."""

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.live.harness import PATIENCE, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --hide-scrollbars "
    "--remote-debugging-port=0 about:blank"
)


class Page:
    """One tab. ``events``: what Chromium has reported about it so far."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        (tab,) = [each["targetId"] for each in targets if each["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._connection.send(json.dumps(message))
        while True:
            reply = json.loads(self._connection.recv(3 * PATIENCE))
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    def size(self, width: int, height: int, mobile: bool) -> None:
        """Set the size of the screen."""
        scale = 2 if mobile else 1
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )

    def open(self, url: str) -> None:
        """Open a URL."""
        assert "errorText" not in self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression of JavaScript on the page and return its value."""
        reply = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression of JavaScript is true."""
        return wait_for(lambda: self.evaluate(expression), expression, 2 * PATIENCE)

    def text(self, selector: str) -> str:
        """Return the text of the first element that matches ``selector``."""
        return str(self.evaluate(f"document.querySelector({selector!r}).innerText"))

    def console_errors(self) -> list[str]:
        """Return errors and warnings of the console, exceptions, and what was refused by policy."""
        found = []
        for event in self.events:
            details = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(str(details["exceptionDetails"]))
                case "Log.entryAdded" if details["entry"]["level"] in ("error", "warning"):
                    found.append(str(details["entry"]))
                case "Runtime.consoleAPICalled" if details["type"] in (
                    "error",
                    "warning",
                    "assert",
                ):
                    found.append(str(details["args"]))
        return found

    def requests(self) -> list[str]:
        """Return the URLs of all requests of the page."""
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [str(event["params"]["request"]["url"]) for event in sent]

    def save_screenshot(self, path: Path) -> None:
        """Save a screenshot of the page as a PNG."""
        reply = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(reply["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Run Chromium with an empty tab, without requests of its own."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, f"--user-data-dir={profile}", *_FLAGS.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        lines = wait_for(
            lambda: (
                port_file.exists() and port_file.read_text().count("\n") and port_file.read_text()
            ),
            "Chromium listens",
            3 * PATIENCE,
        )
        port, path = str(lines).split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
