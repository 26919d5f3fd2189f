"""--hooks: when each function is called, with what, and what happens when it raises."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prefork.errors import AppError
from prefork.http.request import ParsedHead
from prefork.worker import app_hooks
from prefork.worker.app_api import WorkerInfo
from prefork.worker.app_hooks import AppHooks, RequestEnd

WORKER = WorkerInfo(0, 1, "web")
LOG = logging.getLogger("prefork.tests.hooks")


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AppHooks]:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_load(source: str) -> AppHooks:
        (tmp_path / "myhooks.py").write_text("calls = []\n" + source)
        monkeypatch.delitem(sys.modules, "myhooks", raising=False)
        return AppHooks("myhooks", WORKER, LOG)

    return write_and_load


def calls() -> list[Any]:
    return list(sys.modules["myhooks"].calls)


def exchange(status: int = 200) -> Any:
    head = ParsedHead(b"/a%20b", [])
    head.method, head.query = "GET", b"x=1"
    return SimpleNamespace(
        request=head, status=status, started_at=0.0, body_bytes_sent=5, client=("10.0.0.1", 1)
    )


def test_hooks_get_the_worker_or_nothing(load: Callable[[str], AppHooks]) -> None:
    hooks = load(
        "def on_worker_start(worker): calls.append(worker)\n"
        "def on_worker_ready(): calls.append('ready')\n"
        "def on_worker_stop(*args): calls.append(args)\n"
    )
    hooks.call_start()
    hooks.call_ready()
    hooks.call_stop()
    assert calls() == [WORKER, "ready", (WORKER,)]


def test_a_worker_that_was_not_started_is_not_stopped(load: Callable[[str], AppHooks]) -> None:
    hooks = load(
        "def on_worker_start(): raise ValueError('broken')\n"
        "def on_worker_stop(): calls.append('stop')\n"
    )
    with pytest.raises(AppError, match=r"(?s)hooks: myhooks.on_worker_start failed\n.*broken"):
        hooks.call_start()
    hooks.call_stop()
    assert calls() == []


def test_on_worker_ready_that_raises_fails_the_boot(load: Callable[[str], AppHooks]) -> None:
    hooks = load("def on_worker_ready(): raise SystemExit(3)\n")
    hooks.call_start()
    with pytest.raises(AppError, match=r"myhooks.on_worker_ready failed"):
        hooks.call_ready()


def test_on_worker_stop_that_raises_is_logged(
    load: Callable[[str], AppHooks], caplog: pytest.LogCaptureFixture
) -> None:
    hooks = load("def on_worker_stop(): raise ValueError('broken')\n")
    hooks.call_start()
    hooks.call_stop()
    assert "myhooks.on_worker_stop failed\nTraceback" in caplog.text


def test_without_on_request_end_the_access_log_is_called_directly(
    load: Callable[[str], AppHooks],
) -> None:
    hooks = load("def on_worker_stop(): pass\n")
    log_access = [].append
    assert hooks.join_request_end(None) is None
    assert hooks.join_request_end(log_access) is log_access


def test_on_request_end_gets_the_request_after_the_access_log(
    load: Callable[[str], AppHooks],
) -> None:
    hooks = load("def on_request_end(request): calls.append(request)\n")
    log_access = hooks.join_request_end(lambda _: calls_list().append("logged"))
    assert log_access is not None
    log_access(exchange(404))
    logged, request = calls()
    assert logged == "logged"
    assert isinstance(request, RequestEnd)
    assert (request.method, request.path, request.query) == ("GET", "/a%20b", "x=1")
    assert (request.status, request.bytes_sent, request.client) == (404, 5, "10.0.0.1")
    assert request.duration > 0


def calls_list() -> list[Any]:
    return sys.modules["myhooks"].calls  # type: ignore[no-any-return]


def test_on_request_end_that_raises_is_logged_once_a_minute(
    load: Callable[[str], AppHooks],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_request = load("def on_request_end(): 1 / 0\n").join_request_end(None)
    assert end_request is not None
    for _ in range(3):
        end_request(exchange())
    assert caplog.text.count("myhooks.on_request_end failed\n") == 1
    monkeypatch.setattr(app_hooks, "REPORT_INTERVAL", 0.0)
    end_request(exchange())
    assert "myhooks.on_request_end failed, 4 times so far" in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "myhooks defines none of on_worker_start"),
        ("async def on_worker_start(): pass", "on_worker_start has to be a plain function"),
        ("on_worker_start = 1", "on_worker_start has to be a plain function"),
        ("def on_request_end(a, b): pass", "on_request_end has to take one argument, or none"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
    ],
)
def test_a_wrong_module_fails_the_boot(
    load: Callable[[str], AppHooks], source: str, message: str
) -> None:
    with pytest.raises(AppError, match=message):
        load(source)


@pytest.mark.parametrize("name", ["hooks.py", "app/hooks", "app:hooks"])
def test_hooks_are_named_by_their_module(name: str) -> None:
    with pytest.raises(AppError, match=r"name a module, as in myapp.hooks"):
        AppHooks(name, WORKER, LOG)


def test_a_name_like_a_hook_is_warned_of(
    load: Callable[[str], AppHooks], caplog: pytest.LogCaptureFixture
) -> None:
    load("def on_worker_ready(): pass\ndef on_worker_exit(): pass\n")
    assert "myhooks.on_worker_exit is no hook" in caplog.text
