"""What one generation is made of: its settings, and what they mean on this machine right now.

A reload prepares the next one while the last serves on. Whatever fails here (a wrong setting, an
unknown user, a port in use) is the end of that reload and of nothing else.
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
from prefork.unix.listeners import Listener, open_listeners, set_blocking, update_listener
from prefork.worker.boot import import_serving_modules

if TYPE_CHECKING:
    from prefork.observe.access_log import AccessLog
    from prefork.tls.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Generation:
    """``folder``: the workers' working directory, by name. ``imports``: what they put first on
    sys.path. ``spool_dir``: where bodies wait on disk; empty: TMPDIR, or /tmp. ``listeners``, each
    with the scheme that is spoken there, are shared with other generations where the address is the
    same. ``tls`` None: there are no certificates; ``watched`` None: its files are not watched."""

    config: Config
    policy: Policy
    identity: Identity
    folder: str
    imports: list[str]
    spool_dir: str
    listeners: dict[Listener, str]
    tls: "Credentials | None"
    watched: WatchSettings | None

    def describe_listeners(self) -> str:
        """Where it listens, or what it runs, for the log."""
        if not self.listeners:
            return "supervising " + describe_target(self.config)
        return "listening on " + ", ".join(
            f"https://{listener}" if scheme == "https" else str(listener)
            for listener, scheme in self.listeners.items()
        )

    def summarize(self, workers: int) -> str:
        """The places, and how many workers there are to be."""
        return f"{self.describe_listeners()}, {pluralize(workers, 'worker')}"

    def log_warnings(self, logger: logging.Logger) -> None:
        """Of what is legal, but hardly meant."""
        for remark in self.tls.warnings if self.tls is not None else ():
            logger.warning("%s", remark)


def prepare_generation(
    config: Config,
    start_dir: str,
    open_now: Iterable[Listener],
    kept: "Credentials | None" = None,
) -> Generation:
    """Look everything up; listeners that are open already are kept, and the TLS context of the
    last generation if nothing of it changed. Raises PreforkError."""
    try:
        return _prepare(config, start_dir, open_now, kept)
    except ImportError as error:
        raise MachineError(f"{error}; {INCOMPLETE_ENVIRONMENT}") from error


def _prepare(
    config: Config, here: str, open_now: Iterable[Listener], kept: "Credentials | None"
) -> Generation:
    identity = resolve_identity(config.user, config.group)
    folder, imports = resolve_folders(config, here)
    if not os.path.isdir(folder):
        raise UsageError(f"chdir: there is no folder {folder}")
    spool_dir = resolve_spool_dir(config, here)
    tls = load_credentials(config, here, kept)
    create_log_files(config, identity)
    files = watch_settings(config, here, imports, own=_registry_folder())
    if not config.command:
        import_serving_modules(config)
    if config.access_log:
        import_module("prefork.observe.access_log")
    listeners = _open_listeners(config, list(open_now), tls is not None)
    hide_secrets(config)
    return Generation(
        config, make_policy(config), identity, folder, imports, spool_dir, listeners, tls, files
    )


def resolve_spool_dir(config: Config, here: str) -> str:
    """Where bodies wait on disk, by its whole name; empty: TMPDIR, or /tmp. Raises UsageError."""
    if not config.spool_dir:
        return ""
    folder = os.path.join(here, config.spool_dir)
    if not os.path.isdir(folder):
        raise UsageError(f"spool-dir: there is no folder {folder}")
    return folder


def _registry_folder() -> list[str]:
    """The folder of the registry, if this user can have one."""
    try:
        return [str(registry_path(os.environ))]
    except MachineError:
        return []  # said once, by who wanted to be listed there


def prepare_first_generation(
    config: Config, here: str, taken_over: Sequence[Listener]
) -> Generation:
    """The first one, with the listeners of a master that ended: those that are still wanted are
    kept, the others are closed, at once if they are in the way. Raises PreforkError."""
    for listener in taken_over:
        listener.socket.setblocking(bool(config.command))  # nobody uses it at this moment
    try:
        made = prepare_generation(config, here, taken_over)
    except PreforkError:
        if not taken_over:
            raise
        for listener in taken_over:
            listener.close()
        return prepare_generation(config, here, ())
    for listener in taken_over:
        if listener not in made.listeners:
            listener.close()
    return made


def resolve_folders(config: Config, here: str) -> tuple[str, list[str]]:
    """The working directory and what comes first on sys.path; relative to where we started."""
    folder = os.path.join(here, config.chdir) if config.chdir else here
    return folder, [folder, *(os.path.join(here, path) for path in config.pythonpath)]


def load_credentials(
    config: Config, here: str, kept: "Credentials | None" = None
) -> "Credentials | None":
    """Read and check certificates and keys, unless those that are ``kept`` are the same. Raises
    PreforkError."""
    planned = plan_tls(config, here)
    if planned is not None and kept is not None and kept.is_current_for(planned):
        return kept
    if planned is not None:
        from prefork.tls.credentials import read_credentials  # noqa: PLC0415 - OpenSSL, for who has TLS

        return read_credentials(planned)
    for address in config.bind:
        if scheme_of(address, has_certificates=False, is_unix=False) == "https":
            raise UsageError(f"bind: {address} needs a certificate; set tls-cert")
    return None


def hide_secrets(config: Config) -> None:
    """Take variables that hold a secret of ours out of the environment, before a worker has it.
    They stay known to the next reload."""
    for source in (config.tls_password, config.status_token):
        if source is not None and source.variable:
            value = pop_secret(source.variable)
            if value is not None:
                keep_secret(source.variable, value)


def make_policy(config: Config) -> Policy:
    """The numbers that the pool decides by. Raises UsageError."""
    allowed = worker_bounds(config)
    return Policy(
        workers=worker_count(config.workers),
        min_workers=allowed.min_workers,
        max_workers=allowed.max_workers,
        surge=config.surge,
        boot_timeout=config.boot_timeout,
        kill_timeout=config.kill_timeout,
        min_uptime=config.min_uptime,
        max_restarts=config.max_restarts,
        max_lifetime=config.max_lifetime,
        lifetime_jitter=config.max_lifetime_jitter,
        stop_exit_codes=frozenset(config.stop_exit_codes),
        reload_timeout=config.reload_timeout,
    )


def worker_bounds(config: Config) -> Bounds:
    """How many workers there may be. Raises UsageError."""
    least, most, calm = config.min_workers, config.max_workers, config.scale_down_after
    if most is None:
        if least > 1:
            raise UsageError(f"min-workers: {least} has no effect without max-workers")
        return Bounds(1, MAX_WORKERS, calm)
    if least > most:
        raise UsageError(f"min-workers: {least} are more than max-workers, which is {most}")
    return Bounds(min(least, MAX_WORKERS), min(most, MAX_WORKERS), calm)


def worker_count(wanted: int) -> int:
    """0: one per usable core; -1: one less, but at least one."""
    if wanted > 0:
        return wanted
    return max(1, usable_cores() + wanted)


def make_access_log(
    config: Config, slot: int, generation: int, logger: logging.Logger
) -> "AccessLog | None":
    """For a worker, before its fork; None: there is none."""
    if not config.access_log:
        return None
    from prefork.observe.access_log import AccessLog  # noqa: PLC0415 - few have one

    return AccessLog(config.access_log, config.access_log_format, slot, generation, logger)


def create_log_files(config: Config, identity: Identity) -> None:
    """Before the workers do, who only open them when they were forked. Raises MachineError."""
    for path in (config.log_file, config.access_log):
        if path not in ("", "-"):
            create_log_file(path, identity.uid, identity.gid)


def _open_listeners(
    config: Config, open_now: list[Listener], has_certificates: bool
) -> dict[Listener, str]:
    """Old sockets for old addresses, new ones for new; on failure the new ones are closed.

    A kept listener stays the same object: generations that share a socket must know that they do.
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
    """Those that listen there already: by this very address, or by one that nobody means now."""
    found = [listener for listener in open_now if listener.is_bound_to(address)]
    exact = [listener for listener in found if listener.address == address]
    return exact or [listener for listener in found if listener.address not in config.bind]


class Generations:
    """Those that a worker or a plan still needs, by number; the first one has the number 1."""

    def __init__(self, first: Generation) -> None:
        self._generations = {1: first}
        self._newest = 1
        self._keeps_paths = False

    def __getitem__(self, number: int) -> Generation:
        return self._generations[number]

    def prepare(self, config: Config, here: str, current: int) -> Generation:
        """One to follow the ``current`` one. Raises PreforkError."""
        return prepare_generation(config, here, self.listeners(), self._generations[current].tls)

    def add(self, generation: Generation) -> int:
        """Its number, above all before."""
        self._newest += 1
        self._generations[self._newest] = generation
        return self._newest

    def listeners(self) -> list[Listener]:
        """All that are open."""
        known = [listener for made in self._generations.values() for listener in made.listeners]
        return list(dict.fromkeys(known))

    def keep_only(self, needed: set[int]) -> None:
        """Drop the others; close the listeners that nobody uses now."""
        if needed.issuperset(self._generations):
            return
        before = self.listeners()
        self._generations = {n: made for n, made in self._generations.items() if n in needed}
        for listener in before:
            if listener not in self.listeners():
                listener.close()

    def close_outdated_listeners(self, number: int) -> None:
        """After a roll: old workers may finish for long, but nobody accepts there any more. Who
        connects is to be refused at once, not to wait in a queue without a reader. A higher number
        is that of a reload that the pool is told of next: its listeners stay."""
        needed = [made for n, made in self._generations.items() if n >= number]
        wanted = {listener for made in needed for listener in made.listeners}
        for made in self._generations.values():
            for listener in [each for each in made.listeners if each not in wanted]:
                del made.listeners[listener]
                listener.close()

    def close_copies(self, but: Container[Listener]) -> None:
        """In a child: of the listeners that it does not need."""
        for listener in self.listeners():
            if listener not in but:
                listener.socket.close()

    def hand_over_listeners(self) -> list[Listener]:
        """All that are open. From now on the paths of unix sockets stay when we close them."""
        self._keeps_paths = True
        return self.listeners()

    def close(self) -> None:
        """Every listener."""
        for listener in self.listeners():
            if self._keeps_paths:
                listener.socket.close()
            else:
                listener.close()
