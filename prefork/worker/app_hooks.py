"""Call functions of the app at points in the life of a worker (``--hooks MODULE``).

on_worker_start(worker)   before the app is imported
on_worker_ready(worker)   when all is ready, before the worker reports it and accepts connections
on_worker_stop(worker)    after the drain, before the worker exits
on_request_end(request)   when a request has ended

A function may leave its argument out. The module need not define all of them.

Design
------
- **What a hook raises counts where it was called.** In on_worker_start and on_worker_ready the boot
  has failed, as if the import had: a reload keeps the workers before. In on_worker_stop it is
  logged, and the worker exits as it would have. In on_request_end it is logged, once a minute at
  most, and the response is what it was.
- **A hook is a plain function.** An async one would need a loop, which on_worker_start does not
  have, and would end after the request that it belongs to.
- **Without on_request_end nothing is called:** the function is joined to the one that writes the
  access log, and where neither is set a connection asks for neither.
- **A worker that is killed, or that stops quickly, calls no on_worker_stop.**
"""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from prefork.errors import AppError
from prefork.plural import pluralize
from prefork.worker.app_api import WorkerInfo
from prefork.worker.importer import format_app_traceback, import_named_module

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange

HOOKS = ("on_worker_start", "on_worker_ready", "on_worker_stop", "on_request_end")

REPORT_INTERVAL = 60.0
"""Seconds between two records about an on_request_end that fails."""

Hook = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """A request that has ended, for on_request_end.

    ``path`` and ``query`` are as sent, percent-encoded. ``status`` is 0 if the client left before
    the response began. ``duration``: seconds from when the app may have had the request to the end
    of the response. ``bytes_sent``: of the body. ``client``: its address, also behind a trusted
    proxy; empty: unknown.
    """

    method: str
    path: str
    query: str
    status: int
    duration: float
    bytes_sent: int
    client: str


class AppHooks:
    """The hooks of one worker. Raises AppError for a module that defines none, or a wrong one."""

    def __init__(self, module: str, worker: WorkerInfo, log: logging.Logger) -> None:
        self._module, self._worker, self._log = module, worker, log
        self._found = _load(module, log if worker.slot == 0 else None)
        self._is_started = False
        self._failures, self._reported_at = 0, -REPORT_INTERVAL

    def call_start(self) -> None:
        """Call on_worker_start. Raises AppError."""
        self._call_at_boot("on_worker_start")
        self._is_started = True

    def call_ready(self) -> None:
        """Call on_worker_ready. Raises AppError."""
        self._call_at_boot("on_worker_ready")

    def _call_at_boot(self, name: str) -> None:
        try:
            self._found.get(name, _do_nothing)(self._worker)
        except BaseException as error:
            trace = format_app_traceback(error)
            raise AppError(f"hooks: {self._module}.{name} failed", trace) from error

    def call_stop(self) -> None:
        """Call on_worker_stop if the worker was started. What it raises is logged."""
        if not self._is_started:
            return
        try:
            self._found.get("on_worker_stop", _do_nothing)(self._worker)
        except BaseException as error:
            trace = format_app_traceback(error).rstrip()
            self._log.error("hooks: %s.on_worker_stop failed\n%s", self._module, trace)

    def join_request_end(
        self, log_access: "Callable[[Exchange], None] | None"
    ) -> "Callable[[Exchange], None] | None":
        """Return a function that calls ``log_access`` and on_request_end; ``log_access`` itself if
        there is no such hook."""
        hook = self._found.get("on_request_end")
        if hook is None:
            return log_access

        def end_request(exchange: "Exchange") -> None:
            if log_access is not None:
                log_access(exchange)
            try:
                hook(_describe_request(exchange))
            except BaseException as error:
                self._report_request_hook(error)

        return end_request

    def _report_request_hook(self, error: BaseException) -> None:
        """Log that on_request_end failed: the first time, and once a minute while it goes on."""
        self._failures += 1
        if (now := monotonic()) - self._reported_at >= REPORT_INTERVAL:
            times = "" if self._failures == 1 else f", {pluralize(self._failures, 'time')} so far"
            trace = format_app_traceback(error).rstrip()
            text = "hooks: %s.on_request_end failed%s\n%s"
            self._log.error(text, self._module, times, trace)
            self._reported_at = now


def _do_nothing(_argument: object) -> None:
    """Do nothing: the module does not define this hook."""


def _describe_request(exchange: "Exchange") -> RequestEnd:
    request, client = exchange.request, exchange.client
    return RequestEnd(
        method=request.method,
        path=request.path.decode("latin-1"),
        query=request.query.decode("latin-1"),
        status=exchange.status,
        duration=monotonic() - exchange.started_at,
        bytes_sent=exchange.body_bytes_sent,
        client=client[0] if client is not None else "",
    )


def _load(name: str, log: logging.Logger | None) -> dict[str, Hook]:
    """Import the module and return its hooks by name. ``log``: for a warning about a name that
    looks like a hook. Raises AppError."""
    if name.endswith(".py") or "/" in name or ":" in name:
        raise AppError(f"hooks: {name}: name a module, as in myapp.hooks")
    module = import_named_module(name, f"hooks: {name}")
    found = {hook: _as_hook(f"{name}.{hook}", getattr(module, hook)) for hook in _defined(module)}
    if not found:
        raise AppError(f"hooks: {name} defines none of {', '.join(HOOKS)}")
    for other in vars(module):
        if other.startswith(("on_worker_", "on_request_")) and other not in HOOKS and log:
            log.warning("hooks: %s.%s is no hook; they are %s", name, other, ", ".join(HOOKS))
    return found


def _defined(module: object) -> list[str]:
    return [hook for hook in HOOKS if hasattr(module, hook)]


def _as_hook(name: str, function: Any) -> Hook:
    """Return a function of one argument that calls a hook. Raises AppError."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise AppError(f"hooks: {name} has to be a plain function, not async")
    if _takes(function, 1):
        return function  # type: ignore[no-any-return]
    if _takes(function, 0):
        return lambda _argument: function()
    raise AppError(f"hooks: {name} has to take one argument, or none")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True
