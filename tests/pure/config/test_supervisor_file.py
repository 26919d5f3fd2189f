"""A supervisord.conf becomes apps of prefork, with a note for what is not carried over."""

import tomllib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefork.config.apps_file import parse_sections, sort_by_dependency
from prefork.config.foreign.converted_app import ConvertedApp, format_apps
from prefork.config.foreign.supervisor_programs import MOST_APPS, convert_supervisor
from prefork.config.foreign.supervisor_sections import IniFile, include_patterns
from prefork.config.sources import resolve
from prefork.errors import UsageError

PATH = "/etc/supervisor/supervisord.conf"
HERE = "/etc/supervisor"
VARIABLES = {"ENV_HOME": "/home/shop", "ENV_QUOTED": 'a"b', "host_node_name": "box"}


def convert(text: str, folder: str = "") -> tuple[list[ConvertedApp], list[str]]:
    return convert_supervisor([IniFile(PATH, text)], VARIABLES, folder)


def program(text: str, folder: str = "", header: str = "program:web") -> ConvertedApp:
    """The only app of a file with one program."""
    command = "" if "command" in text else "command=sleep 1\n"
    (app,), notes = convert(f"[{header}]\n{command}{text}\n", folder)
    assert notes == []
    return app


def accept(apps: list[ConvertedApp], notes: list[str]) -> dict[str, Any]:
    """Read the file that the apps make, as prefork does; return the settings of each app."""
    sections = parse_sections(tomllib.loads(format_apps(apps, PATH, notes)), PATH, "/srv")
    sort_by_dependency(sections)
    return {name: resolve(section.layers).config for name, section in sections.items()}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("command=/bin/cat 'a b' c ; comment", {"command": ["/bin/cat", "a b", "c"]}),
        ("command=%(ENV_HOME)s/run --at=%(here)s", {"command": ["/home/shop/run", f"--at={HERE}"]}),
        ("command=run %%d %(program_name)s", {"command": ["run", "%d", "web"]}),
        ("command=run %(host_node_name)s %(group_name)s", {"command": ["run", "box", "web"]}),
        ("command=run %(process_num)02d %(numprocs)d", {"command": ["run", "00", "1"]}),
        ("numprocs=3\nprocess_name=%(program_name)s_%(process_num)d", {"workers": 3}),
        ("directory=/srv/shop", {"chdir": "/srv/shop"}),
        ("user=www-data\numask=027", {"user": "www-data", "umask": "027"}),
        ("", {"stop-exit-codes": [0], "workers": None, "max-restarts": None, "chdir": None}),
        ("exitcodes=0,2", {"stop-exit-codes": [0, 2]}),
        ("autorestart=unexpected\nexitcodes=", {"stop-exit-codes": []}),
        ("autorestart=true", {"stop-exit-codes": None}),
        ("autorestart=False", {"stop-exit-codes": [0], "max-restarts": 0}),
        ("startsecs=5\nstartretries=2", {"min-uptime": "5s", "max-restarts": 2}),
        ("stopsignal=INT\nstopwaitsecs=60", {"stop-signal": "INT", "kill-timeout": "60s"}),
        ("stopsignal=15\nstopwaitsecs=0", {"stop-signal": "TERM", "kill-timeout": "1s"}),
        ("stopsignal=SIGTERM", {"stop-signal": "TERM"}),
        ("stdout_logfile=AUTO\nstderr_logfile=NONE", {"log-dir": None}),
        ("stdout_logfile_maxbytes=50MB", {"log-rotate-size": "50mb"}),
        ("stderr_logfile_maxbytes=0", {"log-rotate-size": "off"}),
        ("stderr_logfile_backups=3", {"log-keep": 3}),
        ("autostart=true\nstopasgroup=true\nkillasgroup=yes\nredirect_stderr=true", {}),
        ("stdout_events_enabled=false\nserverurl=AUTO\nstdout_capture_maxbytes=0", {}),
    ],
)
def test_keys_of_a_program_become_settings(text: str, settings: dict[str, Any]) -> None:
    app = program(text)
    assert {key: app.settings.get(key) for key in settings} == settings
    assert app.notes == []
    accept([app], [])


def test_variables_are_those_of_the_file_and_of_the_program() -> None:
    text = """\
[supervisord]
environment=A=1,B="of all"
directory=/srv
umask=022
[program:web]
command=run
environment = B="x, %(ENV_HOME)s" , C='%(process_num)d',
    D=, E="50%%"
"""
    (app,), notes = convert(text)
    assert app.env == {"A": "1", "B": "x, /home/shop", "C": "0", "D": "", "E": "50%"}
    assert (app.settings["chdir"], app.settings["umask"], notes) == ("/srv", "022", [])
    accept([app], notes)


def test_relative_folders_begin_where_the_file_is_started() -> None:
    assert program("", "/srv").settings["chdir"] == "/srv"
    assert program("directory=x", "/srv").settings["chdir"] == "/srv/x"
    assert program("stdout_logfile=logs/a.log", "/srv").settings["log-dir"] == "/srv/logs"
    assert program("stdout_logfile=a.log").settings["log-dir"] == "."


def test_processes_that_differ_become_apps_of_one_namespace() -> None:
    text = """\
[program:web]
command=serve --port=80%(process_num)02d
process_name=%(program_name)s_%(process_num)02d
numprocs=2
numprocs_start=5
"""
    apps, notes = convert(text)
    assert [(app.name, app.settings["command"][1]) for app in apps] == [
        ("web_05", "--port=8005"),
        ("web_06", "--port=8006"),
    ]
    configs = accept(apps, notes)
    assert {config.namespace for config in configs.values()} == {"web"}
    apps, _ = convert(text.replace("process_name", "stdout_capture_maxbytes"))
    assert [app.name for app in apps] == ["web-5", "web-6"]
    assert [len(app.notes) for app in apps] == [1, 0], "a note is told once"


def test_groups_become_namespaces_and_priorities_an_order() -> None:
    text = """\
[group:shop]
programs=web, jobs
[program:web]
command=a %(group_name)s
[program:jobs]
command=b
priority=10
[program:db]
command=c
priority=-1
"""
    apps, notes = convert(text)
    assert {app.name: app.settings.get("after") for app in apps} == {
        "web": ["jobs"],
        "jobs": ["db"],
        "db": None,
    }
    assert [app.settings.get("namespace") for app in apps] == ["shop", "shop", None]
    assert apps[0].settings["command"] == ["a", "shop"]
    assert notes == []
    accept(apps, notes)


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn -w 2 -b 127.0.0.1:9000 shop:app",
        "python3 -m gunicorn -w 2 -b 127.0.0.1:9000 shop:app",
    ],
)
def test_a_server_becomes_an_app(command: str) -> None:
    app = program(f"command={command}")
    assert app.settings == {"app": "shop:app", "workers": 2, "bind": ["127.0.0.1:9000"]}
    odd = program(f"numprocs=2\ncommand={command.replace('-w 2', '-w x')}")
    assert odd.settings["workers"] == "x", "prefork refuses it in its own words"
    twice = program(f"numprocs=2\ncommand={command}\nstopwaitsecs=5")
    assert (twice.settings["workers"], twice.settings["kill-timeout"]) == (4, "5s")


def test_a_server_of_an_environment_says_where_prefork_belongs() -> None:
    app = program("command=/srv/venv/bin/uvicorn shop:app --loop asyncio")
    assert (
        app.notes[-1] == "install prefork into the environment of /srv/venv/bin, and use it there"
    )
    assert "uvicorn's --loop" in app.notes[0]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("autostart=false", "not carried over: supervisor's autostart has no counterpart: `start"),
        (
            "stopasgroup=false",
            "not carried over: supervisor's stopasgroup is not needed: the whole",
        ),
        (
            "stdout_capture_maxbytes=1MB",
            "not carried over: supervisor's stdout_capture_maxbytes is",
        ),
        ("serverurl=http://x", "not carried over: supervisor's serverurl has no counterpart"),
        ("colour=red", "not carried over: colour, which supervisor does not know either"),
        ("stopsignal=USR1", "not carried over: stopsignal SIGUSR1; stop-signal is TERM or INT"),
        ("process_name=x", "not carried over: process_name; the app has the name of its program"),
        ("stdout_logfile=/dev/stdout", "not carried over: supervisor's stdout_syslog is not to be"),
        ("stdout_logfile=/var/log/a.log", "stdout_logfile /var/log/a.log is /var/log/web.out here"),
    ],
)
def test_what_is_not_carried_over_becomes_a_note(text: str, note: str) -> None:
    app = program(text)
    (found,) = app.notes
    assert found.startswith(note)
    assert "stop-signal" not in app.settings
    assert f"# {note}" in format_apps([app], PATH)
    accept([app], [])


def test_sections_without_an_equal_become_notes_of_the_file() -> None:
    text = """\
[unix_http_server]
file=/run/supervisor.sock
[inet_http_server]
port=127.0.0.1:9001
[supervisord]
logfile=/var/log/supervisord.log
user=root
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix:///run/supervisor.sock
[group:x]
programs=web
priority=5
[fcgi-program:f]
command=f
[eventlistener:e]
command=e
[programs:typo]
command=x
[program:web]
command=sleep 1
"""
    apps, notes = convert(text)
    assert [note.partition(": ")[0] for note in notes] == [
        "[supervisord]",
        "[inet_http_server]",
        "[group:x]",
        "[fcgi-program:f]",
        "[eventlistener:e]",
        "[programs:typo]",
    ]
    assert "supervisor's user is" in notes[0]
    assert f"# {notes[1]}" in format_apps(apps, PATH, notes)
    accept(apps, notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command=sleep 1", "cannot be parsed: File contains no section headers"),
        ("[program:x\ncommand=1", "cannot be parsed"),
        ("[supervisord]", r"there is no \[program:NAME\] in it$"),
        ("[include]\nfiles=x", r"no \[program:NAME\] in it, nor in the files that \[include\]"),
        ("[program:x]", r"\[program:x\]: command: there is no program in it"),
        ("[program:x]\ncommand=''", "command: there is no program in it"),
        ("[program:x]\ncommand=it's", "command: no closing quotation"),
        ("[program:x]\ncommand=a %(ENV_NO)s", "the environment has no NO"),
        ("[program:x]\ncommand=a %(no)s", r"command: %\(no\)s is not known$"),
        ("[program:x]\ncommand=a %(ENV_HOME)d", r"%\(ENV_HOME\)d is no number"),
        ("[program:x]\ncommand=date +%Y", "a percent sign is written %%"),
        ("[program:x]\ncommand=a\nnumprocs=x", "numprocs: expected a whole number, not 'x'"),
        ("[program:x]\ncommand=a\nnumprocs=0", "numprocs: expected a number from 1 to"),
        ("[program:x]\ncommand=a\nstartsecs=-1", "startsecs: expected a number from 0 up"),
        ("[program:x]\ncommand=a\nexitcodes=256", "exitcodes: expected numbers from 0 to 255"),
        ("[program:x]\ncommand=a\nautorestart=maybe", "autorestart: expected true, false or"),
        ("[program:x]\ncommand=a\nenvironment=A", "environment: expected KEY="),
        ("[program:x]\ncommand=a\nenvironment=A=%(ENV_QUOTED)s", "environment: expected KEY="),
        ("[program:x]\ncommand=a\nstdout_logfile_maxbytes=much", "expected a size such as 50MB"),
        ("[program:x]\ncommand=gunicorn a:b c", "command: .*only one app"),
        ("[program:a b]\ncommand=a\n[program:a-b]\ncommand=a", "two apps would have the name a-b"),
        ("[group:g]\nprograms=y\n[program:x]\ncommand=a", r"there is no \[program:y\]"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{PATH}.*{message}"):
        convert(text)


def test_a_file_cannot_make_any_number_of_apps() -> None:
    one = "[program:{}]\ncommand=a %(process_num)d\nnumprocs=600\n"
    with pytest.raises(UsageError, match=f"more apps than {MOST_APPS}"):
        convert(one.format("x") + one.format("y"))


def test_included_files_have_their_own_folder_and_win() -> None:
    main = IniFile(PATH, "[include]\nfiles = conf.d/*.conf /opt/%(host_node_name)s.ini\n")
    assert include_patterns(main, VARIABLES) == [f"{HERE}/conf.d/*.conf", "/opt/box.ini"]
    assert include_patterns(IniFile(PATH, "[supervisord]"), VARIABLES) == []
    one = IniFile("/opt/one.conf", "[program:web]\ncommand=%(here)s/one\nuser=a\n")
    two = IniFile("/srv/two.conf", "[program:web]\ncommand=%(here)s/two\n")
    (app,), _ = convert_supervisor([main, one, two], VARIABLES)
    assert (app.settings["command"], app.settings["user"]) == (["/srv/two"], "a")
    with pytest.raises(UsageError, match=r"^/srv/two.conf, \[program:web\]: command: %\(no\)s"):
        convert_supervisor([main, one, IniFile(two.path, "[program:web]\ncommand=%(no)s")], {})


def test_a_file_of_uwsgi_is_explained() -> None:
    text = "[uwsgi]\nmodule = shop:app\nprocesses = 4\nharakiri = 30\nlog-4xx = true\n"
    with pytest.raises(UsageError) as caught:
        convert(text)
    assert str(caught.value) == (
        f"{PATH}: settings of uWSGI are not converted: module is MODULE:CALLABLE; processes is "
        "--workers; harakiri is --timeout; without a counterpart in this list: log-4xx"
    )
    with pytest.raises(UsageError, match=r"settings of uWSGI are not converted$"):
        convert("[uwsgi]")


VALUES = st.one_of(
    st.sampled_from(["", "true", "false", "0", "3", "-1", "a,b", "A=1", "%(process_num)d", "%"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20),
)
NAMES = """
command process_name numprocs numprocs_start priority autostart autorestart startsecs startretries
exitcodes stopsignal stopwaitsecs stopasgroup user umask directory environment redirect_stderr
stdout_logfile stderr_logfile stdout_logfile_maxbytes stderr_logfile_backups programs files x
"""
KEYS = st.sampled_from(NAMES.split())
HEADERS = st.sampled_from(["program:a", "program:b", "group:g", "supervisord", "include", "uwsgi"])


@given(st.text())
@example("[a]\n b\n=c")
def test_any_text_is_converted_or_refused(text: str) -> None:
    try:
        apps, notes = convert(text)
    except UsageError:
        return
    tomllib.loads(format_apps(apps, PATH, notes))


@given(st.lists(st.tuples(HEADERS, st.dictionaries(KEYS, VALUES, max_size=5)), max_size=4))
def test_any_values_are_accepted_by_prefork_or_refused(
    sections: list[tuple[str, dict[str, str]]],
) -> None:
    """prefork reads the file that a conversion makes, or refuses it in its own words."""
    lines = []
    for header, values in sections:
        lines += [f"[{header}]", "command=run"]
        lines += [f"{key}={value}" for key, value in values.items()]
    try:
        accept(*convert("\n".join(lines)))
    except UsageError:
        return
