"""Convert the apps of a PM2 ecosystem file. PURE.

Design
------
- **Times of PM2 are milliseconds,** so each number gets its unit.
- **Where PM2 shares a port among the instances of a script (cluster mode), the app gets a bind,**
  which is the equal here. PM2 takes this mode also for a script of node with ``instances`` and
  without ``exec_mode``. The file has to say which port: by ``port``, or by ``PORT`` in ``env`` or
  in the variables of a stage, which gets a bind of its own. If it does not, ``exec_mode`` cluster
  is refused: without a shared socket the second instance could not listen. Without ``exec_mode``
  the instances may be ones that do not listen, so a note is enough.
- **The bind is every IPv4 address, as for a Node server that names none,** unless ``HOST`` or
  ``HOSTNAME`` of the variables is an address. In PM2 the server alone decides, and it may name
  127.0.0.1, so a note says how to narrow the bind.
- **A key without an equal becomes a note** with its answer from the table of foreign words.
"""

import ipaddress
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from prefork.config.foreign.command_lines import split_line
from prefork.config.foreign.converted_app import (
    ConvertedApp,
    file_stem,
    make_name,
    start_paths_at,
)
from prefork.config.foreign.foreign_table import explain, find_key
from prefork.config.foreign.foreign_word import How, PeerName
from prefork.config.foreign.translation import join_address
from prefork.errors import UsageError

Runner = Callable[[str, str], list[str]]
"""Returns the words that run a script, itself as the last, from its path and its folder."""


def convert_ecosystem(
    content: object,
    source: str,
    folder: str,
    run: Runner,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> list[ConvertedApp]:
    """Return the apps of a file. Raises UsageError.

    ``content``: the value of the file, as PM2 reads it. ``source``: its name in messages.
    ``folder``: the folder that its relative paths start from. ``environ``: the environment of the
    command, whose ``PORT`` counts where the file has none.
    """
    if isinstance(content, Mapping) and isinstance(content.get("services"), Mapping):
        raise UsageError(
            f"{source}: it describes containers; prefork runs inside of one, as its command; "
            "`prefork help deployment` shows a Dockerfile"
        )
    apps = content.get("apps", [content]) if isinstance(content, Mapping) else content
    apps = [apps] if isinstance(apps, Mapping) else apps
    if not isinstance(apps, list) or not all(isinstance(app, Mapping) for app in apps) or not apps:
        raise UsageError(f"{source}: expected apps, as in module.exports = {{ apps: [ … ] }}")
    return [_AppConversion(app, source, folder, run, environ).convert() for app in apps]


class _AppConversion:
    """The conversion of one app."""

    def __init__(
        self,
        entry: Mapping[str, Any],
        source: str,
        folder: str,
        run: Runner,
        environ: Mapping[str, str],
    ) -> None:
        self._source = source
        self._run = run
        self._environ = environ
        named = {str(key): value for key, value in entry.items()}  # in YAML a key may be a number
        self._stages = {
            key.removeprefix("env_"): _text_values(value)
            for key, value in named.items()
            if key.startswith("env_") and isinstance(value, Mapping)
        }
        self._entry = {
            _canonical(key): value
            for key, value in named.items()
            if value is not None and key.removeprefix("env_") not in self._stages
        }
        script = self._entry.get("script")
        if not isinstance(script, str) or not script:
            raise UsageError(f"{source}: an app has no script, as in script: 'server.js'")
        self._script = script
        self._folder = posixpath.normpath(posixpath.join(folder, str(self._entry.get("cwd", ""))))
        self._app = ConvertedApp(make_name(str(self._entry.get("name") or file_stem(script))))

    def convert(self) -> ConvertedApp:
        """Return the app. Raises UsageError."""
        app = self._app
        env = self._entry.get("env")
        app.env = _text_values(env) if isinstance(env, Mapping) else {}
        app.stages = self._stages
        try:
            app.settings = {"command": self._command(), "chdir": self._folder}
        except ValueError as error:  # of shlex
            raise self._error(f"{self._script} and its arguments", str(error).lower()) from None
        self._share_port()
        for key, value in self._entry.items():
            self._convert_key(key, value)
        self._start_paths_at_folder()
        return app

    def _error(self, what: str, message: str) -> UsageError:
        return UsageError(f"{self._source}: {self._app.name}: {what}: {message}")

    def _command(self) -> list[str]:
        args = _words(self._entry.get("args", []))
        interpreter = self._entry.get("exec_interpreter")
        script = self._script
        if interpreter is None and " " in script:  # as in "npm start"
            return split_line(" ".join([script, *map(shlex.quote, args)]))
        words = [script] if interpreter == "none" else [str(interpreter), script]
        if interpreter is None:
            words = self._run(script, self._folder)
        *runner, script = words
        runner[1:1] = _words(self._entry.get("node_args", []))
        return [*runner, script, *args]

    def _share_port(self) -> None:
        """Set the bind of an app in cluster mode, and those of its stages."""
        app, port = self._app, self._entry.get("port")
        if port:
            app.env["PORT"] = str(port)
        mode = str(self._entry.get("exec_mode", ""))
        if not (mode.startswith("cluster") if mode else self._is_cluster_by_default()):
            return
        usual_env = {"PORT": self._environ.get("PORT", ""), **app.env}
        addresses = {"": _shared_address(usual_env)}
        for stage, env in self._stages.items():
            addresses[stage] = _shared_address({**usual_env, **env})
        if not any(addresses.values()):
            self._miss_port(mode)
            return
        if usual := addresses[""]:
            app.settings["bind"] = [usual]
        app.stage_settings = {
            stage: {"bind": [address]}
            for stage, address in addresses.items()
            if stage and address not in ("", usual)
        }
        app.notes += self._notes_about(addresses)

    def _is_cluster_by_default(self) -> bool:
        """Return whether PM2 takes cluster mode: for node, where the file says how many."""
        instances = str(self._entry.get("instances", ""))
        is_number = instances == "max" or re.fullmatch(r"-1|\d+", instances) is not None
        return is_number and "node" in posixpath.basename(self._app.settings["command"][0])

    def _miss_port(self, mode: str) -> None:
        """Note that instances have no port to share. Raises UsageError if the file says cluster."""
        if str(self._entry.get("instances", 1)) == "1":
            return
        if mode:
            raise self._error(
                "instances",
                "its instances share a port in cluster mode, and the file does not say which: add "
                "port: 3000, or PORT to its env",
            )
        self._app.notes.append(
            "its instances share no port, because the file names none; if they listen, add "
            "port: 3000, or PORT to its env"
        )

    def _notes_about(self, addresses: Mapping[str, str]) -> list[str]:
        """Return notes about the shared addresses, by stage; that of no stage has an empty key."""
        notes = []
        if not addresses[""]:
            stages = " or ".join(f"--env {stage}" for stage, each in addresses.items() if each)
            notes.append(f"without {stages} its instances share no port: env has no PORT")
        wide = [each for each in dict.fromkeys(addresses.values()) if each.startswith(EVERY_HOST)]
        if wide:
            notes.append(
                f"bind is {' or '.join(wide)}, every IPv4 address, also if the program names "
                "127.0.0.1: to listen there alone, add HOST: '127.0.0.1' to its env"
            )
        return notes

    def _shared_settings(self) -> list[dict[str, Any]]:
        """Return the settings in which a bind stands: those of the app, else those of stages."""
        app = self._app
        return [app.settings] if "bind" in app.settings else list(app.stage_settings.values())

    def _start_paths_at_folder(self) -> None:
        settings = start_paths_at(self._app.settings, self._folder)
        roots = settings.get("watch-path", [self._folder])
        ignored = settings.get("watch-ignore", [])
        if ignored:
            settings["watch-ignore"] = [_below(each, self._folder, roots) for each in ignored]
        self._app.settings = settings

    def _convert_key(self, key: str, value: Any) -> None:
        if key in _ALREADY:
            return
        rule = _RULES.get(key)
        if rule is not None:
            try:
                self._app.settings |= rule(value)
            except (ValueError, TypeError, OverflowError):
                raise self._error(key, f"{value!r} is no number") from None
        elif key == "wait_ready" and value and (shared := self._shared_settings()):
            for each in shared:
                each["ready"] = "manual"
        elif found := find_key(key, PeerName.PM2):
            is_default = value is (key in _TRUE_BY_DEFAULT)
            if not is_default and found[0].how is not How.IGNORED:
                self._app.notes.append(f"not carried over: {explain(found, key, self._source)}")
        else:
            self._app.notes.append(f"not carried over: {key}, which PM2 does not know either")


EVERY_HOST = "0.0.0.0"
_HOST_VARIABLES = ("HOST", "HOSTNAME")
"""Variables by which servers are told the address to listen on."""


def _shared_address(env: Mapping[str, str]) -> str:
    """Return the address that a server with these variables listens on; empty: it has no port."""
    port = env.get("PORT", "")
    host = next((env[name] for name in _HOST_VARIABLES if _is_address(env.get(name, ""))), "")
    return join_address({"host": host or EVERY_HOST, "port": port}) if port else ""


def _is_address(text: str) -> bool:
    """Return whether the text is an IP address or localhost; HOST may also be a public name."""
    try:
        return text == "localhost" or bool(ipaddress.ip_address(text))
    except ValueError:
        return False


_ALREADY = {
    *("script", "args", "exec_interpreter", "node_args", "cwd", "name", "env", "exec_mode", "port"),
    "merge_logs",
}
"""Keys that were used before the others."""


_TRUE_BY_DEFAULT = {"autostart", "treekill", "source_map_support"}
"""Keys that say nothing where they are true; others say nothing where they are false."""


def _canonical(key: str) -> str:
    """Return the first of the names that PM2 has for a key."""
    found = find_key(key, PeerName.PM2)
    return found[0].keys[0] if found and not key.startswith("env_") else key


def _text_values(table: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(key): value if isinstance(value, str) else str(value).replace("True", "true")
        for key, value in table.items()
        if value is not None
    }


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return shlex.split(value)
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values if not isinstance(each, bool)]


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _time(value: Any) -> str:
    return f"{value}ms" if str(value).isdigit() else str(value)


def _below(pattern: str, folder: str, roots: Iterable[str]) -> str:
    """Return a pattern that is a path below ``folder`` as one below a watched folder.

    A pattern without a slash, or with one that is no path of this folder, stays.
    """
    if not re.match(r"[\w./]", pattern) or "/" not in pattern.rstrip("/"):
        return pattern.rstrip("/") or pattern
    path = posixpath.normpath(posixpath.join(folder, pattern))
    starts = ["" if root == "." else f"{root}/" for root in roots]
    root = max((each for each in starts if path.startswith(each)), key=len, default=None)
    return pattern if root is None else f"/{path.removeprefix(root)}"


def _watch(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"watch": value}
    return {"watch": True, "watch-path": [str(each) for each in _list(value)]}


_RULES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "instances": lambda value: {"workers": 0 if value == "max" else int(value)},
    "namespace": lambda value: {"namespace": str(value)},
    "instance_var": lambda value: {"instance-var": str(value)},
    "max_memory_restart": lambda value: {"max-memory": str(value)},
    "cron_restart": lambda value: {"cron": [str(each) for each in _list(value)]},
    "watch": _watch,
    "ignore_watch": lambda value: {"watch-ignore": [str(each) for each in _list(value)]},
    "watch_delay": lambda value: {"watch-delay": _time(value)},
    "kill_timeout": lambda value: {"kill-timeout": _time(value)},
    "listen_timeout": lambda value: {"boot-timeout": _time(value)},
    "min_uptime": lambda value: {"min-uptime": _time(value)},
    "max_restarts": lambda value: {"max-restarts": int(value)},
    "stop_exit_codes": lambda value: {"stop-exit-codes": [int(each) for each in _list(value)]},
    "autorestart": lambda value: {} if value else {"max-restarts": 0, "stop-exit-codes": [0]},
    "uid": lambda value: {"user": str(value)},
    "gid": lambda value: {"group": str(value)},
    "pid_file": lambda value: {"pid-file": str(value)},
    "log_type": lambda value: {"log-format": str(value)},
}
"""Our settings of a key, by its first name."""
