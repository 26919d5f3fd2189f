"""Convert the programs of a supervisord.conf. PURE.

Design
------
- **A program is one app, and numprocs its workers.** Where command, environment, folder or log
  contain ``%(process_num)d``, each process becomes an app with its own values, and all of them a
  namespace: the workers of one app have one command.
- **A command that is gunicorn, uvicorn, hypercorn or granian becomes an app of prefork,** as in a
  Procfile.
- **autorestart is carried over also where the file is silent:** supervisor does not restart a
  program that exits with 0, and prefork does. startretries and stopwaitsecs are carried over only
  where they are stated, because their defaults are no decision of the operator.
- **priority becomes** ``after``: programs of a lower number are started before. supervisor does not
  wait until they are ready, and prefork does.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefork.config.foreign.command_lines import server_words
from prefork.config.foreign.converted_app import ConvertedApp, make_name, start_paths_at
from prefork.config.foreign.foreign_table import explain, find_key
from prefork.config.foreign.foreign_word import PeerName
from prefork.config.foreign.procfile import convert_command
from prefork.config.foreign.supervisor_sections import (
    IniFile,
    IniSection,
    Variables,
    read_sections,
    split_pairs,
)
from prefork.config.foreign.uwsgi_keys import explain_uwsgi
from prefork.config.value_types import STOP_SIGNALS
from prefork.errors import UsageError

MOST_APPS = 1000
"""Apps that one file may make, because numprocs is any number."""

_DEFAULT_PRIORITY = 999
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NO_FILE = ("", "auto", "none", "off")
_SIGNALS = {"2": "SIGINT", "15": "SIGTERM"}
_PER_PROCESS = ("command", "environment", "directory", "stdout_logfile", "stderr_logfile")
_CONVERTED = {
    *("command", "process_name", "numprocs", "numprocs_start", "priority", "autorestart"),
    *("startsecs", "startretries", "exitcodes", "stopsignal", "stopwaitsecs", "user", "umask"),
    *("directory", "environment", "redirect_stderr", "stdout_logfile", "stderr_logfile"),
    *("stdout_logfile_maxbytes", "stderr_logfile_maxbytes"),
    *("stdout_logfile_backups", "stderr_logfile_backups"),
}
"""Keys of a program that have a rule. All others become notes."""

_WITHOUT_MEANING = {"autostart": _TRUE, "stopasgroup": _TRUE, "killasgroup": _TRUE}
"""Values that ask for what prefork does anyway; of other keys, those that say no."""

_DAEMON_NOTES = ("user", "minfds", "minprocs", "childlogdir", "strip_ansi")
"""Keys of [supervisord] that programs may miss. The others are about the daemon alone."""

_SILENT_SECTIONS = {
    *("program", "group", "include", "supervisord", "supervisorctl", "unix_http_server"),
    "rpcinterface",
}
_SECTION_NOTES = {
    "fcgi-program": "not carried over: a FastCGI program takes its socket as descriptor 0, and "
    "prefork speaks HTTP; prefork MODULE:CALLABLE serves the app itself",
    "eventlistener": "not carried over: prefork events APP prints what happens, and --hooks calls "
    "functions of the app",
    "inet_http_server": "not carried over: --status ADDRESS serves a page that shows the app",
}
"""Kinds of sections that have no equal, and what there is instead."""


def convert_supervisor(
    files: Sequence[IniFile], variables: Mapping[str, str], folder: str = ""
) -> tuple[list[ConvertedApp], list[str]]:
    """Return the apps of supervisor's files, and notes about the files. Raises UsageError.

    ``files``: the one that was named, and those that it includes. ``variables``: ``ENV_x`` and
    ``host_node_name``. ``folder``: the working directory of programs that name none.
    """
    sections, source = read_sections(files), files[0].path
    programs = [each for each in sections.values() if each.kind == "program"]
    if not programs:
        raise UsageError(_explain_no_program(sections, source))
    daemon = sections.get("supervisord", IniSection("supervisord"))
    context = _Context(daemon, variables, folder, _groups(sections, variables))
    apps: list[ConvertedApp] = []
    priorities: list[int] = []
    for section in programs:
        made = _Program(section, context).convert()
        apps += made
        priority = section.number("priority", context.names(section), _DEFAULT_PRIORITY)
        priorities += [priority] * len(made)
        if len(apps) > MOST_APPS:
            raise UsageError(f"{source}: more apps than {MOST_APPS}")
    _refuse_doubles(apps, source)
    _order(apps, priorities)
    return apps, _notes_of_file(sections, source)


@dataclass(frozen=True, slots=True)
class _Context:
    """The settings that all programs share. ``groups``: the namespace of each program that is in a
    group.
    """

    daemon: IniSection
    variables: Mapping[str, str]
    folder: str
    groups: Mapping[str, str]

    def names(self, section: IniSection) -> dict[str, "str | int"]:
        """Return the names that values of a program may have."""
        group = self.groups.get(section.name, section.name)
        return {**self.variables, "program_name": section.name, "group_name": group}

    def directory(self, section: IniSection, names: Variables) -> str:
        """Return the working directory of a program; empty: the file names none."""
        path = section.text("directory", names) or self.daemon.text("directory", names)
        return posixpath.join(self.folder, path) if path else self.folder


class _Program:
    """The conversion of one section [program:x]."""

    def __init__(self, section: IniSection, context: _Context) -> None:
        self._section = section
        self._context = context
        common = context.names(section)
        self._count = section.number("numprocs", common, 1)
        self._first = section.number("numprocs_start", common, 0)
        if not 1 <= self._count <= MOST_APPS:
            raise section.error("numprocs", f"expected a number from 1 to {MOST_APPS}")

    def convert(self) -> list[ConvertedApp]:
        """Return the app, or one for each process if those differ. Raises UsageError."""
        section = self._section
        group = self._context.groups.get(section.name, "")
        if self._count == 1 or not any(map(section.names_process, _PER_PROCESS)):
            apps = [self._convert_process(self._first, make_name(section.name), self._count)]
        else:
            numbers = range(self._first, self._first + self._count)
            apps = [self._convert_process(each, self._process_name(each), 1) for each in numbers]
            group = group or make_name(section.name)
        for app in apps:
            app.settings |= {"namespace": group} if group else {}
        apps[0].notes += self._notes()
        return apps

    def _names(self, number: int) -> Variables:
        names = self._context.names(self._section)
        return {**names, "process_num": number, "numprocs": self._count}

    def _process_name(self, number: int) -> str:
        default = f"{self._section.name}-{number}"
        return make_name(self._section.text("process_name", self._names(number), default))

    def _convert_process(self, number: int, name: str, workers: int) -> ConvertedApp:
        section, daemon, names = self._section, self._context.daemon, self._names(number)
        app = ConvertedApp(name, env=_environment(daemon, names) | _environment(section, names))
        self._convert_command(app, names, workers)
        folder = self._context.directory(section, names)
        own = posixpath.normpath(posixpath.join(folder, app.settings.get("chdir", "")))
        app.settings = start_paths_at(app.settings, own)
        if folder:
            app.settings["chdir"] = own
        if user := section.text("user", names):
            app.settings["user"] = user
        if umask := section.text("umask", names) or daemon.text("umask", names):
            app.settings["umask"] = umask
        if "command" in app.settings:
            app.settings |= _restarts(section, names)
        app.settings |= _ends(section, names)
        _convert_logs(app, section, names, self._context.folder)
        return app

    def _convert_command(self, app: ConvertedApp, names: Variables, workers: int) -> None:
        section = self._section
        try:
            words = shlex.split(section.text("command", names))
        except ValueError as error:
            raise section.error("command", str(error).lower()) from None
        if not words or not words[0]:
            raise section.error("command", "there is no program in it")
        if not (server := server_words(words)):
            app.settings["command"] = words
            app.settings |= {"workers": workers} if workers > 1 else {}
            return
        try:
            settings, notes = convert_command(server)
        except UsageError as error:
            raise section.error("command", str(error)) from None
        app.settings, app.notes = settings, notes
        own = settings.get("workers", 1)
        if workers > 1 and isinstance(own, int):
            app.settings["workers"] = workers * own
        if "/" in words[0]:
            folder = posixpath.dirname(words[0])
            app.notes.append(f"install prefork into the environment of {folder}, and use it there")

    def _notes(self) -> list[str]:
        """Return a note for each key of the section that has no rule."""
        notes, section = [], self._section
        names = self._names(self._first)
        for key, value in section.values.items():
            says_nothing = _WITHOUT_MEANING.get(key, (*_FALSE, "auto", ""))
            if key in _CONVERTED or value.text.strip().lower() in says_nothing:
                continue
            notes.append(_note(key, section.path(key)))
        process_name = section.text("process_name", names, section.name)
        if self._count == 1 and process_name != section.name:
            notes.append("not carried over: process_name; the app has the name of its program")
        signal = _stop_signal(section, names)
        if signal not in STOP_SIGNALS:
            notes.append(f"not carried over: stopsignal {signal}; stop-signal is TERM or INT")
        return notes


def _note(key: str, source: str) -> str:
    found = find_key(key, PeerName.SUPERVISOR)
    if not found:
        return f"not carried over: {key}, which supervisor does not know either"
    return f"not carried over: {explain(found, key, source)}"


# The rules of keys.


def _environment(section: IniSection, names: Variables) -> dict[str, str]:
    pairs = split_pairs(section.text("environment", names))
    if pairs is None:
        raise section.error("environment", 'expected KEY="value",KEY2="value2"')
    return pairs


def _restarts(section: IniSection, names: Variables) -> dict[str, object]:
    """Return when a program is started again."""
    settings: dict[str, object] = {}
    if section.has("startsecs"):
        settings["min-uptime"] = f"{section.count('startsecs', names)}s"
    if section.has("startretries"):
        settings["max-restarts"] = section.count("startretries", names)
    mode = section.text("autorestart", names, "unexpected").strip().lower()
    if mode in _FALSE:
        return settings | {"max-restarts": 0, "stop-exit-codes": [0]}
    if mode == "unexpected":
        codes = section.text("exitcodes", names, "0").replace(",", " ").split()
        if not all(re.fullmatch("[0-9]{1,3}", code) and int(code) <= 255 for code in codes):
            raise section.error("exitcodes", "expected numbers from 0 to 255, as in 0,2")
        return settings | {"stop-exit-codes": [int(code) for code in codes]}
    if mode not in _TRUE:
        raise section.error("autorestart", f"expected true, false or unexpected, not {mode!r}")
    return settings


def _ends(section: IniSection, names: Variables) -> dict[str, object]:
    """Return how a program is stopped."""
    settings: dict[str, object] = {}
    signal = _stop_signal(section, names)
    if signal in STOP_SIGNALS and section.has("stopsignal"):
        settings["stop-signal"] = signal.removeprefix("SIG")
    if section.has("stopwaitsecs"):
        settings["kill-timeout"] = f"{max(1, section.count('stopwaitsecs', names))}s"
    return settings


def _stop_signal(section: IniSection, names: Variables) -> str:
    """Return the name of the stop signal, with SIG."""
    text = section.text("stopsignal", names, "TERM").strip().upper()
    return _SIGNALS.get(text, f"SIG{text.removeprefix('SIG')}")


def _convert_logs(app: ConvertedApp, section: IniSection, names: Variables, folder: str) -> None:
    """Convert the log files; a program writes both streams to one file, NAME.out."""
    for key in ("stdout_logfile", "stderr_logfile"):
        path = section.text(key, names).strip()
        if path.lower() in _NO_FILE:
            continue
        if path == "syslog" or path.startswith("/dev/"):
            app.notes.append(_note(f"{key.partition('_')[0]}_syslog", section.path(key)))
            continue
        own = posixpath.dirname(posixpath.join(folder, path)) or "."
        kept = app.settings.setdefault("log-dir", own)
        app.notes.append(f"{key} {path} is {posixpath.join(kept, app.name)}.out here")
    for ours, rest in (("log-rotate-size", "maxbytes"), ("log-keep", "backups")):
        given = [f"{stream}_logfile_{rest}" for stream in ("stdout", "stderr")]
        key = next(filter(section.has, given), "")
        if key and ours == "log-keep":
            app.settings[ours] = section.count(key, names)
        elif key:
            app.settings[ours] = _size(section, key, names)


def _size(section: IniSection, key: str, names: Variables) -> str:
    text = section.text(key, names).strip().lower()
    if not re.fullmatch("[0-9]{1,9}(kb|mb|gb)?", text):
        raise section.error(key, f"expected a size such as 50MB, not {text!r}")
    return "off" if int(text.rstrip("kmgb")) == 0 else text


# The file as a whole.


def _groups(sections: Mapping[str, IniSection], variables: Variables) -> dict[str, str]:
    """Return the namespace of each program that a group names. Raises UsageError."""
    groups: dict[str, str] = {}
    for section in sections.values():
        if section.kind != "group":
            continue
        for name in section.text("programs", variables).replace(",", " ").split():
            if not any(f"{kind}:{name}" in sections for kind in ("program", "fcgi-program")):
                raise section.error("programs", f"there is no [program:{name}]")
            groups[name] = make_name(section.name)
    return groups


def _explain_no_program(sections: Mapping[str, IniSection], source: str) -> str:
    if uwsgi := sections.get("uwsgi"):
        return explain_uwsgi({key: value.text for key, value in uwsgi.values.items()}, source)
    also = ", nor in the files that [include] names" if "include" in sections else ""
    return f"{source}: there is no [program:NAME] in it{also}"


def _notes_of_file(sections: Mapping[str, IniSection], source: str) -> list[str]:
    """Return notes about the sections that make no app."""
    daemon = sections.get("supervisord", IniSection("supervisord"))
    notes = [f"[supervisord]: {_note(key, source)}" for key in _DAEMON_NOTES if daemon.has(key)]
    for header, section in sections.items():
        if section.kind == "group" and section.has("priority"):
            notes.append(f"[{header}]: not carried over: priority; those of its programs are")
        elif section.kind in _SECTION_NOTES:
            notes.append(f"[{header}]: {_SECTION_NOTES[section.kind]}")
        elif section.kind not in _SILENT_SECTIONS:
            notes.append(f"[{header}]: supervisor does not know this section either")
    return notes


def _refuse_doubles(apps: Sequence[ConvertedApp], source: str) -> None:
    seen = set()
    for app in apps:
        if app.name in seen:
            raise UsageError(f"{source}: two apps would have the name {app.name}")
        seen.add(app.name)


def _order(apps: Sequence[ConvertedApp], priorities: Sequence[int]) -> None:
    """Let each app start after those of the next lower priority."""
    levels = sorted(set(priorities))
    names: dict[int, list[str]] = {level: [] for level in levels}
    for app, priority in zip(apps, priorities, strict=True):
        names[priority].append(app.name)
    for app, priority in zip(apps, priorities, strict=True):
        if at := levels.index(priority):
            app.settings["after"] = names[levels[at - 1]]
