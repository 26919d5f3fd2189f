"""A generation: the settings of a start or reload, resolved on this machine.

A generation holds users, folders, listeners, certificates and limits. A reload prepares the next
one while the present one serves. Any error (a wrong setting, an unknown user, a port in use) ends
the reload and changes nothing else.

Design
------
- **Certificates are loaded by the master, once for a generation.** It may read keys that the
  workers may not. A reload with wrong files is refused before anything changes. Workers that share
  a context share the keys of session tickets, so a client may resume its session with any of them.
  After ``--tls-watch`` swapped certificates each worker has tickets of its own, and a client may
  have to do a full handshake.
- **The master imports the serving modules before it forks,** so that workers share those pages and
  boot in milliseconds. It never imports the app. A master of programs imports none of them: 40 ms
  of CPU and 8 MB less.
- **A listener that a reload keeps is the same object in both generations,** also under a new mode
  or owner. Code that closes the listeners of an old generation must not close one that the new
  generation shares.
- **The sockets of a program block, those of workers do not.** O_NONBLOCK belongs to the open
  socket, so it is set once, when the socket is new. A runtime with an event loop sets it itself. To
  change it at each exec would stop the loops of the older workers.
- **Secrets are taken out of the environment last,** once the generation is known to be right: a
  misspelled ``env:PATH`` must not cost the workers their PATH.
"""

import logging
import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from prefork.config import Config
from prefork.config.addresses import Address, scheme_of
from prefork.config.target import describe_target
from prefork.errors import INCOMPLETE_ENVIRONMENT, MachineError, PreforkError, UsageError
from prefork.master.file_watch import WatchSettings, watch_settings
from prefork.observe.logger import create_log_file
from prefork.plural import pluralize
from prefork.pool import Policy
from prefork.pool.policy import MAX_WORKERS
from prefork.pool.scaling import Bounds
from prefork.tls.certificate_plan import make_tls_plan as plan_tls
from prefork.tls.secret_variables import keep_secret
from prefork.unix.cores import usable_cores
from prefork.unix.environment import pop_secret
from prefork.unix.home import registry_path
from prefork.unix.identity import Identity, resolve_identity
from prefork.unix.listeners import (
    Listener,
    check_address,
    open_listeners,
    set_blocking,
    update_listener,
)
from prefork.worker.boot import import_serving_modules

if TYPE_CHECKING:
    from prefork.observe.access_log import AccessLog
    from prefork.tls.credentials import Credentials
    from prefork.worker.app_logging import LoggingConfig

PROGRAM_MIN_READY = 0.1
"""Seconds for which a program has to stay ready. A server that fails to reach its database after it
began to listen ends within a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The settings of one start or reload, resolved on this machine.

    ``config``: its settings. ``policy``: its limits for the pool. ``identity``: user and group of
    the workers. ``folder``: their working directory, with symlinks as given. ``imports``: what they
    put first on sys.path. ``spool_dir``: the folder of spooled bodies; empty: TMPDIR, or /tmp.
    ``listeners``: the listeners with the scheme of each ("http" or "https"); generations with the
    same address share its listener. ``tls``: certificates; None: there are none.
    ``logging_config``: how the app's logging is configured; None: prefork leaves it alone.
    ``watched``: the files to watch; None: none.
    """

    config: Config
    policy: Policy
    identity: Identity
    folder: str
    imports: list[str]
    spool_dir: str
    listeners: dict[Listener, str]
    tls: "Credentials | None"
    logging_config: "LoggingConfig | None"
    watched: WatchSettings | None

    def describe_listeners(self) -> str:
        """Return its addresses, or the program that it runs without any, for the log."""
        if not self.listeners:
            return "supervising " + describe_target(self.config)
        return "listening on " + ", ".join(
            f"https://{listener}" if scheme == "https" else str(listener)
            for listener, scheme in self.listeners.items()
        )

    def summarize(self, workers: int) -> str:
        """Return its addresses, the number of workers and the build that serves, for the log."""
        summary = f"{self.describe_listeners()}, {pluralize(workers, 'worker')}"
        build = describe_build(self.config)
        return f"{summary}, {build}" if build else summary

    def log_warnings(self, logger: logging.Logger) -> None:
        """Log warnings about settings that are valid but probably not intended."""
        for remark in self.tls.warnings if self.tls is not None else ():
            logger.warning("%s", remark)


def describe_build(config: Config) -> str:
    """Return the build that serves: compiled or pure Python; empty for programs, which serve by
    themselves."""
    if config.command:
        return ""
    from prefork import _speed  # noqa: PLC0415 - a master of programs serves nothing itself

    return _speed.BUILD


def prepare_generation(
    config: Config,
    start_dir: str,
    open_now: Iterable[Listener],
    kept: "Credentials | None" = None,
) -> Generation:
    """Resolve all settings into a generation.

    ``open_now``: the open listeners, which are kept where the address is wanted again. ``kept``:
    the certificates of the last generation, which are kept if plan and files are the same.
    Raises PreforkError.
    """
    try:
        return _prepare(config, start_dir, open_now, kept)
    except ImportError as error:
        raise MachineError(f"{error}; {INCOMPLETE_ENVIRONMENT}") from error


def _prepare(
    config: Config, start_dir: str, open_now: Iterable[Listener], kept: "Credentials | None"
) -> Generation:
    identity = resolve_identity(config.user, config.group)
    folder, imports = resolve_folders(config, start_dir)
    _require_folder(folder)
    spool_dir = resolve_spool_dir(config, start_dir)
    tls = load_credentials(config, start_dir, kept)
    create_log_files(config, identity)
    files = watch_settings(config, start_dir, imports, own=_registry_folder())
    import_serving_modules(config)
    if config.access_log:
        import_module("prefork.observe.access_log")
    app_logging = load_logging_config(config, start_dir)
    listeners = _open_listeners(config, list(open_now), tls is not None)
    hide_secrets(config)
    paths = (folder, imports, spool_dir)
    return Generation(
        config, make_policy(config), identity, *paths, listeners, tls, app_logging, files
    )


def check_generation(config: Config, start_dir: str, open_now: Iterable[Listener]) -> None:
    """Raise PreforkError if these settings would not make a generation, as far as that can be told
    without a change: files of logs and modules of prefork are left out."""
    resolve_identity(config.user, config.group)
    _require_folder(resolve_folders(config, start_dir)[0])
    resolve_spool_dir(config, start_dir)
    load_credentials(config, start_dir)
    load_logging_config(config, start_dir)
    make_policy(config)
    for address in config.bind:
        if not _find_open(address, list(open_now), config):
            check_address(address, open_now)


def _require_folder(folder: str) -> None:
    if not os.path.isdir(folder):
        raise UsageError(f"chdir: there is no folder {folder}")


def load_logging_config(config: Config, start_dir: str) -> "LoggingConfig | None":
    """Read the file that configures the app's logging; None: there is none. Raises UsageError."""
    if not config.log_config:
        return None
    from prefork.worker.app_logging import read_logging_config  # noqa: PLC0415 - few have one

    return read_logging_config(os.path.join(start_dir, config.log_config))


def resolve_spool_dir(config: Config, start_dir: str) -> str:
    """Return the absolute folder of spooled bodies; empty: TMPDIR, or /tmp. Raises UsageError."""
    if not config.spool_dir:
        return ""
    folder = os.path.join(start_dir, config.spool_dir)
    if not os.path.isdir(folder):
        raise UsageError(f"spool-dir: there is no folder {folder}")
    return folder


def _registry_folder() -> list[str]:
    """Return the folder of the registry, or nothing if this user can have none."""
    try:
        return [str(registry_path(os.environ))]
    except MachineError:
        return []  # the registration logs this once


def prepare_first_generation(
    config: Config, start_dir: str, taken_over: Sequence[Listener]
) -> Generation:
    """Prepare the generation of a new master.

    ``taken_over``: the listeners of the master before. Those that are wanted again are kept, and
    the others are closed; if the preparation fails with them, all are closed and it is tried
    without. Raises PreforkError.
    """
    for listener in taken_over:
        listener.socket.setblocking(bool(config.command))  # no process uses it now
    try:
        generation = prepare_generation(config, start_dir, taken_over)
    except PreforkError:
        if not taken_over:
            raise
        for listener in taken_over:
            listener.close()
        return prepare_generation(config, start_dir, ())
    for listener in taken_over:
        if listener not in generation.listeners:
            listener.close()
    return generation


def resolve_folders(config: Config, start_dir: str) -> tuple[str, list[str]]:
    """Return the working directory, and the folders that come first on sys.path.

    ``start_dir``: where the command was started, for relative paths.
    """
    folder = os.path.join(start_dir, config.chdir) if config.chdir else start_dir
    return folder, [folder, *(os.path.join(start_dir, path) for path in config.pythonpath)]


def load_credentials(
    config: Config, start_dir: str, kept: "Credentials | None" = None
) -> "Credentials | None":
    """Read and check certificates and keys; None if the settings name none.

    ``kept``: certificates of the last generation, returned if they are still the same.
    Raises PreforkError.
    """
    planned = plan_tls(config, start_dir)
    if planned is not None and kept is not None and kept.is_current_for(planned):
        return kept
    if planned is not None:
        from prefork.tls.credentials import read_credentials  # noqa: PLC0415 - only with TLS

        return read_credentials(planned)
    for address in config.bind:
        if scheme_of(address, has_certificates=False, is_unix=False) == "https":
            raise UsageError(f"bind: {address} needs a certificate; set tls-cert")
    return None


def hide_secrets(config: Config) -> None:
    """Remove variables that hold a secret of prefork from the environment, before a worker gets it.

    Their values stay in memory for the next reload.
    """
    for source in (config.tls_password, config.status_token):
        if source is not None and source.variable:
            value = pop_secret(source.variable)
            if value is not None:
                keep_secret(source.variable, value)


def make_policy(config: Config) -> Policy:
    """Return the limits that the pool decides by. Raises UsageError."""
    allowed = worker_bounds(config)
    return Policy(
        workers=worker_count(config.workers),
        min_workers=allowed.min_workers,
        max_workers=allowed.max_workers,
        surge=config.surge,
        boot_timeout=config.boot_timeout,
        kill_timeout=config.kill_timeout,
        min_uptime=config.min_uptime,
        min_ready=min(PROGRAM_MIN_READY, config.min_uptime) if config.command else 0.0,
        max_restarts=config.max_restarts,
        max_lifetime=config.max_lifetime,
        lifetime_jitter=config.max_lifetime_jitter,
        stop_exit_codes=frozenset(config.stop_exit_codes),
        reload_timeout=config.reload_timeout,
        elects_leader=not config.command,
        reports_requests=not config.command,
        stop_delay=config.stop_delay,
    )


def worker_bounds(config: Config) -> Bounds:
    """Return the limits of the number of workers. Raises UsageError."""
    least, most, calm = config.min_workers, config.max_workers, config.scale_down_after
    if most is None:
        if least > 1:
            raise UsageError(f"min-workers: {least} has no effect without max-workers")
        return Bounds(1, MAX_WORKERS, calm)
    if least > most:
        raise UsageError(f"min-workers: {least} are more than max-workers, which is {most}")
    return Bounds(min(least, MAX_WORKERS), min(most, MAX_WORKERS), calm)


def worker_count(wanted: int) -> int:
    """Return the number of workers for the setting ``workers``.

    0 means one per usable core, -1 one less than that, but at least one.
    """
    if wanted > 0:
        return wanted
    return max(1, usable_cores() + wanted)


def make_access_log(
    config: Config, slot: int, generation: int, logger: logging.Logger
) -> "AccessLog | None":
    """Return the access log of a worker; None if the settings name none."""
    if not config.access_log:
        return None
    from prefork.observe.access_log import AccessLog  # noqa: PLC0415 - few have one

    settings = (config.access_log, config.access_log_format, slot, generation, logger)
    return AccessLog(*settings, config.access_log_skip)


def create_log_files(config: Config, identity: Identity) -> None:
    """Create the log files with the right owner, before workers open them. Raises MachineError."""
    for path in (config.log_file, config.access_log):
        if path not in ("", "-"):
            create_log_file(path, identity.uid, identity.gid)


def _open_listeners(
    config: Config, open_now: list[Listener], has_certificates: bool
) -> dict[Listener, str]:
    """Return a listener with its scheme for each address: open ones are kept, others opened.

    If it fails, the new listeners are closed, and the kept ones are unchanged. Raises PreforkError.
    """
    listeners: dict[Listener, str] = {}
    kept: list[tuple[Listener, Address]] = []
    opened: list[Listener] = []
    try:
        for address in config.bind:
            found = _find_open(address, open_now, config)
            kept += [(listener, address) for listener in found]
            if not found:
                found = open_listeners(address, config.backlog, [*open_now, *opened])
                opened += found
            listeners.update((each, each.scheme(address, has_certificates)) for each in found)
        # Last, because a reload that is refused changes nothing.
        for listener, address in kept:
            update_listener(listener, address, config.backlog)
        if config.command:
            set_blocking(opened)
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return listeners


def _find_open(address: Address, open_now: list[Listener], config: Config) -> list[Listener]:
    """Return the open listeners at this address.

    Those that were opened for exactly this address come first; else those whose own address is not
    in the settings any more, because it was written in another way.
    """
    found = [listener for listener in open_now if listener.is_bound_to(address)]
    exact = [listener for listener in found if listener.address == address]
    return exact or [listener for listener in found if listener.address not in config.bind]


class Generations:
    """The generations that a worker or the plan still needs, by number from 1."""

    def __init__(self, first: Generation) -> None:
        self._generations = {1: first}
        self._newest = 1
        self._keeps_paths = False

    def __getitem__(self, number: int) -> Generation:
        return self._generations[number]

    def prepare(self, config: Config, start_dir: str, current: int) -> Generation:
        """Prepare a generation to follow number ``current``. Raises PreforkError."""
        return prepare_generation(
            config, start_dir, self.listeners(), self._generations[current].tls
        )

    def check(self, config: Config, start_dir: str) -> None:
        """Raise PreforkError if ``prepare`` would, as far as that can be told without a change."""
        check_generation(config, start_dir, self.listeners())

    def add(self, generation: Generation) -> int:
        """Add a generation, and return its number, which is above all before."""
        self._newest += 1
        self._generations[self._newest] = generation
        return self._newest

    def listeners(self) -> list[Listener]:
        """Return all open listeners, each once."""
        known = [
            listener
            for generation in self._generations.values()
            for listener in generation.listeners
        ]
        return list(dict.fromkeys(known))

    def items(self) -> Iterable[tuple[int, Generation]]:
        """Return all generations with their numbers."""
        return self._generations.items()

    def keep_only(self, needed: set[int]) -> None:
        """Drop all generations but ``needed``, and close the listeners that only they used."""
        if needed.issuperset(self._generations):
            return
        before = self.listeners()
        self._generations = {
            n: generation for n, generation in self._generations.items() if n in needed
        }
        for listener in before:
            if listener not in self.listeners():
                listener.close()

    def close_outdated_listeners(self, number: int) -> None:
        """Close the listeners that only generations before ``number`` have, after a roll to it.

        Old workers may drain for long, but accept no more connections there. A client is to be
        refused at once, not to wait in a queue that no process reads. A generation above ``number``
        belongs to a reload that the pool gets next, so its listeners stay.
        """
        needed = [generation for n, generation in self._generations.items() if n >= number]
        wanted = {listener for generation in needed for listener in generation.listeners}
        for generation in self._generations.values():
            for listener in [each for each in generation.listeners if each not in wanted]:
                del generation.listeners[listener]
                listener.close()

    def close_copies(self, but: Container[Listener]) -> None:
        """Close the listeners of all generations except ``but``, in a child."""
        for listener in self.listeners():
            if listener not in but:
                listener.socket.close()

    @property
    def are_handed_over(self) -> bool:
        """Return whether the next master has the listeners: clients need no other server."""
        return self._keeps_paths

    def hand_over_listeners(self) -> list[Listener]:
        """Return all open listeners for the next master.

        From now on ``close`` leaves the paths of unix sockets alone.
        """
        self._keeps_paths = True
        return self.listeners()

    def close(self) -> None:
        """Close every listener."""
        for listener in self.listeners():
            if self._keeps_paths:
                listener.socket.close()
            else:
                listener.close()
