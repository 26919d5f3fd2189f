"""Clients that are in common use: a browser, httpx, curl."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.browser import CHROMIUM, chromium
from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.raw_client import ask, get
from tests.live.web_apps import serving_app


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_talks_over_a_websocket(tmp_path: Path) -> None:
    with serving(tmp_path, "browser:app", "--pythonpath", str(APPS)) as server:

        def reported() -> list[dict[str, object]]:
            found: list[dict[str, object]] = json.loads(ask(server, get("/reports")).body)
            return found

        with chromium(tmp_path / "profile") as page:
            page.open(f"http://127.0.0.1:{server.port}/")
            (report,) = wait_for(reported, "the browser reports", 3 * PATIENCE)
    assert report["protocol"] == "echo"
    assert "permessage-deflate" in str(report["extensions"])
    assert report["text"] is True
    assert report["bytes"] == [0, 1, 254, 255]
    assert report["close"] == [4000, "as you wish", True]


@pytest.fixture(params=["wsgi", "threads", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with serving_app(request.param, tmp_path) as made:
        yield made


def test_httpx_reuses_its_connection_and_streams_both_ways(server: Server) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE) as client:
        for number in range(3):
            assert client.get(f"/told/{number}").text == str(number)
        pieces = [b"x" * 70_000, b"", b"y" * 3]
        assert client.post("/size", content=iter(pieces)).text == "70003"
        assert client.post("/size", content=b"z" * 300_000).text == "300000"
        with client.stream("GET", "/stream") as response:
            assert response.headers["transfer-encoding"] == "chunked"
            assert len(b"".join(response.iter_bytes())) > 0
        assert client.head("/told/1").content == b""
        assert client.get("/told/9").text == "9"


@pytest.mark.parametrize(
    "flags",
    [
        ["--http1.0"],
        ["--http1.1", "--no-keepalive"],
        ["-H", "Expect: 100-continue"],
        ["-H", "Transfer-Encoding: chunked"],
        ["--compressed"],
    ],
    ids=["1.0", "no keep-alive", "expect", "chunked", "compressed"],
)
def test_curl_uploads_in_each_of_its_ways(server: Server, flags: list[str], tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 1_500_000)
    url = f"http://127.0.0.1:{server.port}/size"
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "--fail",
            "--max-time",
            "20",
            *flags,
            "--data-binary",
            f"@{body}",
            url,
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "15000001500000"), done.stderr
