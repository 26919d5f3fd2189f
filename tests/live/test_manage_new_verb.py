"""A verb that is only declared (tests/toy_verb.py), from the command line to a master and back."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE
from tests.live.home import Home, temporary_home

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``prefork`` with the verb ``greet``."""
    return subprocess.run(
        [sys.executable, "-m", "tests.toy_verb", *words],
        cwd=home.folder,
        env={**home.environ(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def start(home: Home, *names: str, options: Sequence[str] = ()) -> None:
    home.write("greeted.py", "def app(environ, start_response): ...\n")
    for name in names:
        words = ("-w", "2", "-b", "127.0.0.1:0", "--name", name, *options)
        started = run(home, "start", *words, "greeted:app")
        assert started.returncode == 0, started.stderr


def test_a_declared_verb_goes_to_each_named_app_and_its_answers_are_printed(home: Home) -> None:
    start(home, "api", "web")
    greeted = run(home, "greet", "Ada", "all")
    assert (greeted.returncode, greeted.stderr) == (0, "")
    assert greeted.stdout == (
        "api: Ada greets 2 workers of api (warm)\nweb: Ada greets 2 workers of web (warm)\n"
    )
    hailed = run(home, "hail", "Ada", "web", "--loud", "--tone", "formal")
    assert hailed.stdout == "web: ADA GREETS 2 WORKERS OF WEB (formal)\n"


def test_a_declared_verb_may_be_asked_for_over_http(home: Home) -> None:
    home.write("token", "sesame")
    start(home, "web", options=("--status", "127.0.0.1:0", "--status-token", "file:token"))
    (port,) = re.findall(r"status on 127\.0\.0\.1:(\d+)", home.run_ok("logs", "web"))

    def post(body: str, token: str = "sesame") -> tuple[int, bytes]:
        client = HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
        try:
            client.request("POST", "/greet", body, {"Authorization": f"Bearer {token}"})
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    status, body = post('{"guest": "Ada"}')
    assert (status, json.loads(body)) == (200, {"result": {"text": "Ada greets 2 workers of web"}})
    assert post("{}") == (
        400,
        b'the body must be a JSON object with "guest" (the name of the guest)\n',
    )
    assert post('{"guest": "Ada"}', token="simsim")[0] == 401


def test_a_master_without_a_verb_refuses_its_request(home: Home) -> None:
    home.write("greeted.py", "def app(environ, start_response): ...\n")
    home.run_ok("start", "-b", "127.0.0.1:0", "--name", "web", "greeted:app")
    greeted = run(home, "greet", "Ada", "web")
    assert greeted.returncode == 100
    assert "web: no verb 'greet'; there are stop, " in greeted.stderr
