"""``prefork [OPTIONS] MODULE:CALLABLE``, from the words to the exit code."""

import gc
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.cli.settings import Settings, start_folder
from prefork.config import Config
from prefork.config.flags import parser
from prefork.config.render import settings as show_settings
from prefork.config.target import default_name, require_target, target
from prefork.errors import AppError, PreforkError, UsageError
from prefork.unix.appending import trust
from prefork.unix.daemon import Foreground, detach, open_standard_streams
from prefork.unix.home import Folder, claim, home, usable_name
from prefork.unix.identity import group_id, look_up
from prefork.unix.listeners import Listener, backlog_ceiling
from prefork.unix.signals import Mailbox
from prefork.unix.systemd import Notifier
from prefork.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole command; its exit code. Errors are one line, or the app's own traceback."""
    open_standard_streams()
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except AppError as error:
        print(f"prefork: the app is broken: {error}", file=sys.stderr)
        return error.exit_code
    except PreforkError as error:
        print(f"prefork: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()
        print("prefork: this is a bug in prefork, please report it", file=sys.stderr)
        return PreforkError.exit_code


def run_from_python(app: object, options: Mapping[str, Any]) -> int:
    """``prefork.run``: serve, or raise PreforkError."""
    if not isinstance(app, str):
        raise UsageError(
            "prefork.run() takes the app by name, as in prefork.run('myapp:main'): each worker "
            "imports it anew, so that a reload can bring new code"
        )
    settings = Settings([], os.environ, {**options, "app": app})
    return serve(settings, settings.read().config)


def run(arguments: Sequence[str]) -> int:
    """Do what the words say. Raises PreforkError."""
    from prefork.cli.verbs import is_verb, managing, run_verb  # noqa: PLC0415 - it calls us back

    if is_verb(arguments):
        return run_verb(arguments)
    settings = Settings(arguments, os.environ)
    words = settings.words
    if getattr(words, "help", False):
        print(parser(managing()).format_help(), end="")
        return 0
    if getattr(words, "version", False):
        print(f"prefork {__version__}")
        return 0
    resolved = settings.read()
    if getattr(words, "print_config", False):
        print(show_settings(resolved), end="")
        return 0
    require_target(resolved.config)
    if getattr(words, "check", False):
        from prefork.cli.checking import check_app  # noqa: PLC0415 - serving does not need it

        print(f"ok: {check_app(resolved.config, start_folder())}")
        return 0
    return serve(settings, resolved.config)


def serve(
    settings: Settings,
    config: Config,
    managed: Folder | None = None,
    taken_over: Sequence[Listener] = (),
) -> int:
    """Be the master until it is over. ``managed``: the folder of an app that is to stay in the
    list when it is stopped; ``taken_over``: the listeners of the master before."""
    here = start_folder()
    sockets = [listener.socket.fileno() for listener in taken_over]
    foreground = detach(sockets) if config.daemon else Foreground(-1)
    code = PreforkError.exit_code
    try:
        code = _be_master(settings, config, here, foreground, managed, taken_over)
    except PreforkError as error:
        code = error.exit_code
        raise
    finally:
        foreground.failed(code)
    return code


def _be_master(
    settings: Settings,
    config: Config,
    here: str,
    foreground: Foreground,
    managed: Folder | None,
    taken_over: Sequence[Listener],
) -> int:
    # Late, because --help and --version need none of it.
    from prefork.master.master import SIGNALS, Master  # noqa: PLC0415
    from prefork.master.registration import Registration  # noqa: PLC0415
    from prefork.observe.log import Log  # noqa: PLC0415

    # The mailbox first: a signal that comes while we bind and write the pid file must not be lost.
    mailbox = Mailbox(SIGNALS)
    if config.umask is not None:
        os.umask(config.umask)
    group = group_id(config.control_group) if config.control_group else None
    trust(look_up(config.user, config.group).uid)
    log = Log(config.log_level, config.log_file)
    ceiling = backlog_ceiling()
    if ceiling is not None and config.backlog > ceiling:
        log.logger.warning(
            "the kernel cuts --backlog %d to net.core.somaxconn = %d", config.backlog, ceiling
        )
    notifier = Notifier(os.environ)
    if config.daemon:
        notifier.main_pid(os.getpid())

    def reread() -> Config:
        config = settings.read().config
        require_target(config)
        return config

    folder, unlisted = managed, ""
    if folder is None:
        folder, unlisted = _enlist(config)
    registration = None
    if folder is not None:
        origin = {
            "app": target(config),
            "namespace": config.namespace,
            "arguments": settings.arguments,
            "here": here,
            "file": settings.file,
            "section": settings.section,
            "stage": settings.stage,
        }
        registration = Registration(folder, origin, managed is not None, log, group, taken_over)
    master = Master(config, reread, here, log, mailbox, notifier, foreground, registration)
    if unlisted:
        log.logger.warning("%s; the app serves, but is in no list", unlisted)
    # What is there now stays shared with the workers instead of being copied by their collector.
    gc.collect()
    gc.freeze()
    return master.run()


def _enlist(config: Config) -> tuple[Folder | None, str]:
    """A place in the list under a name that is free, or why there is none."""
    name = usable_name(default_name(config))
    try:
        return claim(home(os.environ), name, exact=False), ""
    except PreforkError as error:
        return None, str(error)
