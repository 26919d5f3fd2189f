"""Files of other managers become tables of prefork, with a note for what is not carried over."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.apps_file import parse_sections
from prefork.config.foreign.converted_app import ConvertedApp, format_apps, format_single
from prefork.config.foreign.ecosystem import convert_ecosystem
from prefork.config.foreign.file_names import explain_file, is_ecosystem, is_procfile, is_script
from prefork.config.foreign.foreign_word import PeerName
from prefork.config.foreign.pm2_words import WORDS as PM2_WORDS
from prefork.config.foreign.procfile import convert_procfile
from prefork.config.foreign.server_settings import convert_server_settings, is_own_file
from prefork.config.sources import file_layer, resolve
from prefork.errors import UsageError


def run(script: str, _folder: str) -> list[str]:
    return ["node", script] if script.endswith(".js") else [script]


LOCAL = {"HOST": "127.0.0.1"}


def app_of(**entry: Any) -> ConvertedApp:
    (app,) = convert_ecosystem({"apps": [{"script": "a.js", **entry}]}, "eco", "/srv", run)
    return app


def accept(apps: list[ConvertedApp]) -> None:
    """Read the file that the apps make, as prefork does."""
    for section in parse_sections(tomllib.loads(format_apps(apps, "eco")), "eco", "/srv").values():
        resolve(section.layers)


@pytest.mark.parametrize(
    ("entry", "settings"),
    [
        ({"args": "--a 'b c'"}, {"command": ["node", "a.js", "--a", "b c"]}),
        ({"args": ["x", 1]}, {"command": ["node", "a.js", "x", "1"]}),
        ({"node_args": "--inspect"}, {"command": ["node", "--inspect", "a.js"]}),
        ({"script": "npm start"}, {"command": ["npm", "start"]}),
        ({"script": "./a", "interpreter": "none"}, {"command": ["./a"]}),
        ({"script": "a.py", "interpreter": "python3"}, {"command": ["python3", "a.py"]}),
        ({"cwd": "x"}, {"chdir": "/srv/x"}),
        ({"cwd": "/x"}, {"chdir": "/x"}),
        ({"instances": "max", "exec_mode": "fork"}, {"workers": 0}),
        ({"instances": -1, "exec_mode": "fork"}, {"workers": -1}),
        (
            {"exec_mode": "cluster", "env": {**LOCAL, "PORT": 3}, "wait_ready": True},
            {"bind": ["127.0.0.1:3"], "ready": "manual"},
        ),
        ({"max_memory_restart": "300M"}, {"max-memory": "300M"}),
        ({"cron": "0 4 * * *"}, {"cron": ["0 4 * * *"]}),
        ({"watch": True}, {"watch": True}),
        (
            {"watch": ["src", "/x"], "ignore_watch": ["x", "./src/tmp/", "/x/y", "**/a", "tmp/"]},
            {
                "watch-path": ["/srv/src", "/x"],
                "watch-ignore": ["x", "/tmp", "/y", "**/a", "tmp"],
            },
        ),
        ({"watch": ".", "cwd": "in"}, {"watch-path": ["/srv/in"]}),
        ({"watch": True, "ignore_watch": ["./logs", "../x"]}, {"watch-ignore": ["/logs", "../x"]}),
        ({"watch_delay": 100, "kill_timeout": 3000}, {"watch-delay": "100ms"}),
        ({"listen_timeout": 5000, "min_uptime": "5s"}, {"boot-timeout": "5000ms"}),
        ({"max_restarts": 5, "stop_exit_codes": [0, 1]}, {"stop-exit-codes": [0, 1]}),
        ({"autorestart": False}, {"max-restarts": 0, "stop-exit-codes": [0]}),
        ({"autorestart": True, "namespace": "shop"}, {"namespace": "shop"}),
        ({"user": "www", "gid": 5, "pid": "a.pid"}, {"group": "5", "pid-file": "/srv/a.pid"}),
        ({"log_type": "json", "instance_var": "ID"}, {"log-format": "json"}),
    ],
)
def test_keys_of_an_ecosystem_file_become_settings(
    entry: dict[str, Any], settings: dict[str, Any]
) -> None:
    app = app_of(**entry)
    assert {key: app.settings.get(key) for key in settings} == settings
    assert app.notes == []
    accept([app])


@pytest.mark.parametrize(
    ("entry", "bind"),
    [
        ({"exec_mode": "cluster", "instances": 4, "port": 3}, "0.0.0.0:3"),
        ({"exec_mode": "cluster_mode", "env": {"PORT": 3}}, "0.0.0.0:3"),
        ({"instances": 2, "env": {"PORT": 3}}, "0.0.0.0:3"),
        ({"instances": "max", "env": {"PORT": 3, "HOST": "::1"}}, "[::1]:3"),
        ({"instances": -1, "env": {"PORT": 3, "HOSTNAME": "localhost"}}, "localhost:3"),
        ({"instances": "1", "env": {"PORT": 3, "HOST": "shop.example"}}, "0.0.0.0:3"),
        ({"instances": 0, "env": LOCAL}, "127.0.0.1:5000"),
        ({"instances": 2, "port": 3, "interpreter": "/opt/node20/bin/node"}, "0.0.0.0:3"),
        ({"instances": 2, "port": 3, "interpreter": "python3"}, None),
        ({"instances": 2, "port": 3, "exec_mode": "fork"}, None),
        ({"instances": 2, "port": 3, "script": "npm start"}, None),
        ({"port": 3}, None),
    ],
)
def test_a_port_is_shared_where_pm2_has_cluster_mode(
    entry: dict[str, Any], bind: str | None
) -> None:
    content = {"script": "a.js", **entry}
    (app,) = convert_ecosystem(content, "eco", "/srv", run, {"PORT": "5000", "HOST": "10.0.0.1"})
    assert app.settings.get("bind") == (bind and [bind])
    is_wide = bool(bind) and bind.startswith("0.0.0.0")
    assert ["add HOST: '127.0.0.1' to its env" in note for note in app.notes] == [True] * is_wide
    accept([app])


def test_a_stage_with_another_port_has_a_bind_of_its_own() -> None:
    entry = {"exec_mode": "cluster", "env": {"PORT": 1, **LOCAL}, "env_a": {"PORT": 2}}
    app = app_of(**entry, env_b={"HOST": "::1"}, env_c={"X": "y"}, wait_ready=True)
    assert app.settings["bind"] == ["127.0.0.1:1"]
    assert app.stage_settings == {"a": {"bind": ["127.0.0.1:2"]}, "b": {"bind": ["[::1]:1"]}}
    table = tomllib.loads(format_apps([app], "eco"))
    for stage, bind in (("", "127.0.0.1:1"), ("a", "127.0.0.1:2"), ("b", "[::1]:1")):
        (section,) = parse_sections(table, "eco", "/srv", stage).values()
        assert [str(each) for each in resolve(section.layers).config.bind] == [bind]


def test_a_port_of_a_stage_alone_is_shared_in_that_stage() -> None:
    app = app_of(instances=2, env_a={"PORT": 2, **LOCAL}, wait_ready=True)
    assert "bind" not in app.settings
    assert app.stage_settings == {"a": {"bind": ["127.0.0.1:2"], "ready": "manual"}}
    assert app.notes == ["without --env a its instances share no port: env has no PORT"]
    (note,) = app_of(instances=2).notes
    assert note.startswith("its instances share no port, because the file names none; if they")
    assert app_of(instances=1).notes == []


def test_a_script_that_needs_a_shell_gets_one() -> None:
    app = app_of(script="cd x && npm start --", args=["a b"])
    assert app.settings["command"] == ["sh", "-c", "cd x && npm start -- 'a b'"]


def test_variables_and_stages_of_an_ecosystem_file_are_kept() -> None:
    app = app_of(
        name="my app", env={"A": True, "B": None, "C": 1}, env_production={"A": "x"}, port=9
    )
    assert (app.name, app.env) == ("my-app", {"A": "true", "C": "1", "PORT": "9"})
    assert app.stages == {"production": {"A": "x"}}
    text = format_apps([app], "eco")
    assert '[apps.my-app.env_production]\nA = "x"' in text
    accept([app])


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        ({"out_file": "x.log"}, "not carried over: PM2's out_file is log-dir here"),
        ({"treekill": False}, "not carried over: PM2's treekill is not to be had"),
        ({"autostart": False}, "not carried over: PM2's autostart has no counterpart"),
        ({"wait_ready": True}, "not carried over: PM2's wait_ready is ready manual here"),
        ({"colour": "red"}, "not carried over: colour, which PM2 does not know either"),
    ],
)
def test_what_is_not_carried_over_becomes_a_note(entry: dict[str, Any], note: str) -> None:
    (found,) = app_of(**entry).notes
    assert found.startswith(note)
    assert f"# {note}" in format_apps([app_of(**entry)], "eco")


def test_what_says_nothing_makes_no_note() -> None:
    quiet = {"treekill": True, "autostart": True, "vizion": False, "merge_logs": True, "pmx": False}
    assert app_of(**quiet, trace=False, error=None).notes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (7, r"expected apps, as in module.exports"),
        ({"apps": []}, "expected apps"),
        ({"apps": ["a.js"]}, "expected apps"),
        ({"apps": [{"name": "x"}]}, "an app has no script"),
        ({"script": 7}, "an app has no script"),
        ({"script": "a.js", "instances": "many"}, "a: instances: 'many' is no number"),
        ({"script": "a.js", "args": "it's"}, "a: a.js and its arguments: no closing quotation"),
        ({"services": {"web": {"image": "x"}}}, "describes containers; prefork runs inside of one"),
        ({"script": "a.js", "exec_mode": "cluster", "instances": 2}, "its instances share a port"),
    ],
)
def test_a_wrong_ecosystem_file_is_refused(content: object, message: str) -> None:
    with pytest.raises(UsageError, match=f"^eco: .*{message}|^eco: {message}"):
        convert_ecosystem(content, "eco", "", run)


def test_an_ecosystem_file_may_be_one_app_or_a_list() -> None:
    for content in ({"script": "a.js"}, [{"script": "a.js"}], {"apps": {"script": "a.js"}}):
        assert [app.name for app in convert_ecosystem(content, "eco", "", run)] == ["a"]


def test_arguments_may_be_a_text_a_list_a_number_or_nothing() -> None:
    for args, words in (("-a b", ["-a", "b"]), (["x y", 1], ["x y", "1"]), (7, ["7"]), (False, [])):
        assert app_of(args=args).settings["command"] == ["node", "a.js", *words]


def test_a_procfile_becomes_apps() -> None:
    text = """\
# comment

web: gunicorn main:app --workers 2 -b 0.0.0.0:$PORT --preload -k gevent --log-file -
api: python -m uvicorn main:api --reload --host 0.0.0.0
old: python -m http.server
worker: celery -A shop worker
clock: cd x && python clock.py
env: A=1 python x.py
glob: ls *.txt
quote: it's
factory: gunicorn -w 2 --access-logfile - 'shop:create_app("a; b")'
quoted: python -c 'print(1); print(2)' "a & b"
escaped: echo \\'; ls'
inner: echo "$(ls)" '&'
release: python manage.py migrate
missing: python x.py ${MISSING} ${OTHER:-7}
open: it's $MISSING
"""
    converted, notes = convert_procfile(text, "Procfile", {"PORT": "5000"})
    assert notes == ["release: no service; run it before the start: python manage.py migrate"]
    apps = {app.name: app for app in converted}
    web = apps.pop("web")
    assert web.settings == {
        "app": "main:app",
        "workers": 2,
        "bind": ["0.0.0.0:5000"],
        "log-file": "",
    }
    assert [note[:40] for note in web.notes] == [
        "ignored: gunicorn's --preload is not nee",
        "ignored: gunicorn's -k gevent is not to ",
    ]
    assert apps.pop("factory").settings == {
        "app": 'shop:create_app("a; b")',
        "workers": 2,
        "access-log": "-",
    }
    assert apps["api"].settings == {"app": "main:api", "watch": True, "bind": ["0.0.0.0:8000"]}
    assert {name: app.settings.get("command") for name, app in apps.items() if name != "api"} == {
        "old": ["python", "-m", "http.server"],
        "worker": ["celery", "-A", "shop", "worker"],
        "clock": ["sh", "-c", "cd x && python clock.py"],
        "env": ["sh", "-c", "A=1 python x.py"],
        "glob": ["sh", "-c", "exec ls *.txt"],
        "quote": ["sh", "-c", "it's"],
        "quoted": ["python", "-c", "print(1); print(2)", "a & b"],
        "escaped": ["sh", "-c", "echo \\'; ls'"],
        "inner": ["sh", "-c", "exec echo \"$(ls)\" '&'"],
        "open": ["sh", "-c", "it's $MISSING"],
        "missing": ["sh", "-c", "exec python x.py ${MISSING} 7"],
    }
    assert apps["missing"].notes == ["MISSING is not set; the shell of the line may set it"]
    accept([web, *apps.values()])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web", "line 1: expected NAME: COMMAND"),
        ("# x\n", "there is no line"),
        (
            "web: gunicorn m:app -b :$PORT -w ${N}",
            ", web: the line needs N and PORT, .*; type N=… PORT=8000",
        ),
        (
            "web: python -m uvicorn m:app --root-path $P",
            ", web: the line needs P, which the .*; type P=… pref",
        ),
        ("web: node server.js $PORT", ", web: .* needs PORT, .*; type PORT=8000 prefork …"),
    ],
)
def test_a_wrong_procfile_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^Procfile.*{message}"):
        convert_procfile(text, "Procfile", {})


@given(st.text())
def test_any_text_is_a_procfile_or_refused(text: str) -> None:
    try:
        apps, notes = convert_procfile(text, "Procfile", {})
    except UsageError:
        return
    tomllib.loads(format_apps(apps, "Procfile", notes))


def test_a_server_that_reads_a_file_is_told_how_to_convert_it() -> None:
    (app,), _ = convert_procfile("web: gunicorn -c gunicorn.conf.py -w 2", "Procfile", {})
    assert app.settings == {"workers": 2}
    assert app.notes == [
        "not carried over: the file gunicorn.conf.py; `prefork convert gunicorn.conf.py` prints "
        "its settings",
        'the command line names no app: add it, as in app = "MODULE:CALLABLE"',
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=9), each, max_size=3)
    ),
    max_leaves=6,
)
ECOSYSTEM_KEYS = st.sampled_from(
    [*(key for word in PM2_WORDS for key in word.keys if not word.verb), "env", "env_x", "script"]
)


@given(st.dictionaries(ECOSYSTEM_KEYS | st.integers(), JSON, max_size=5))
def test_any_ecosystem_file_is_converted_or_refused(entry: dict[Any, Any]) -> None:
    """Its values may be of any type, and in YAML its keys as well."""
    try:
        apps = convert_ecosystem([{"script": "a.js", **entry}], "eco", "/srv", run)
    except UsageError:
        return
    tomllib.loads(format_apps(apps, "eco"))


def test_gunicorn_settings_become_a_file_of_one_app() -> None:
    app = convert_server_settings(
        {
            "bind": ["0.0.0.0:8000", "unix:/run/a.sock"],
            "workers": 5,
            "timeout": 120,
            "graceful_timeout": 30,
            "raw_env": ["A=1", "B=x=y"],
            "wsgi_app": "main:app",
            "umask": "027",
            "forwarded_allow_ips": "*",
            "proxy_allow_ips": "10.0.0.1,10.0.0.2",
            "reload": True,
            "daemon": False,
            "user": None,
            "header_map": "dangerous",
            "preload_app": True,
            "worker_class": "gevent",
            "post_fork": "function post_fork",
            "multiprocessing_count": 4,
        },
        PeerName.GUNICORN,
    )
    text = format_single(app, "gunicorn.conf.py")
    config = resolve([file_layer(tomllib.loads(text), "prefork.toml", "")]).config
    assert (config.app, config.workers, config.timeout, config.kill_timeout) == (
        "main:app",
        5,
        120,
        37,
    )
    assert [str(address) for address in config.bind] == ["0.0.0.0:8000", "unix:/run/a.sock"]
    assert config.env == {"A": "1", "B": "x=y"}
    assert (config.umask, config.watch, config.underscores) == (0o27, True, "allow")
    assert len(config.proxy_allow) == 2
    assert [note.partition(":")[0] for note in app.notes] == [
        "gunicorn's graceful_timeout is kill-timeout here (requests have this long, then a call of "
        "an ASGI app is cancelled and its lifespan ends, for which the kill timeout is longer; "
        "--stream-timeout ends endless responses before)",
        "gunicorn's preload_app is not needed",
        "gunicorn's worker_class is not to be had",
        "not carried over",
    ]


def test_a_setting_of_gunicorn_may_have_its_items_in_one_text() -> None:
    values = {"bind": "127.0.0.1:1, unix:a.sock,", "raw_env": "A=1,B=2"}
    app = convert_server_settings(values, PeerName.GUNICORN)
    assert app.settings["bind"] == ["127.0.0.1:1", "unix:a.sock"]
    assert app.env == {"A": "1", "B": "2"}
    resolve([file_layer(app.settings, "prefork.toml", "")])
    kept = convert_server_settings({"certfile": "a,b.pem"}, PeerName.GUNICORN)
    assert kept.settings["tls-cert"] == ["a,b.pem"]


def test_paths_of_a_server_start_at_the_folder_that_it_changes_to() -> None:
    values = {"chdir": "src", "pidfile": "a.pid", "bind": "unix:a.sock", "errorlog": "-"}
    app = convert_server_settings(values, PeerName.GUNICORN)
    assert (app.settings["chdir"], app.settings["pid-file"]) == ("src", "src/a.pid")
    assert app.settings["bind"] == ["unix:src/a.sock"]
    (app,), _ = convert_procfile("web: gunicorn m:app --chdir src --pid a.pid", "Procfile", {})
    assert app.settings == {"app": "m:app", "chdir": "src", "pid-file": "a.pid"}


def test_a_path_that_cannot_be_parsed_stays_for_the_message() -> None:
    app = convert_server_settings({"chdir": "src", "bind": "unix:"}, PeerName.GUNICORN)
    assert app.settings["bind"] == ["unix:"]


def test_a_class_of_workers_for_asgi_limits_no_request() -> None:
    values = {"worker_class": "uvicorn.workers.UvicornWorker", "limit_request_fields": 0}
    app = convert_server_settings(values, PeerName.GUNICORN)
    assert app.settings == {"request-timeout": "off", "limit-headers": 0}
    assert [note[:21] for note in app.notes] == ["gunicorn's worker_cla", "The file names no app"]
    assert resolve([file_layer(app.settings, "prefork.toml", "")]).config.limit_headers is None


@pytest.mark.parametrize(
    ("table", "is_own"),
    [
        ({"app": "m:app", "bind": "1"}, True),
        ({"apps": {"web": {}}}, True),
        ({"kill-timeout": "3s"}, True),
        ({"bind": "1", "workers": 4, "accesslog": "-"}, False),
        ({"graceful_timeout": 3}, False),
        ({}, False),
    ],
)
def test_a_file_of_prefork_is_told_from_one_of_hypercorn(
    table: dict[str, Any], is_own: bool
) -> None:
    assert is_own_file(table) is is_own
    assert format_single(ConvertedApp("x"), "y") == "# Made by prefork from y.\n"


def test_hypercorn_settings_become_a_file_of_one_app() -> None:
    values = {"bind": ":80", "accesslog": "-", "application_path": "m:app", "worker_class": "trio"}
    app = convert_server_settings(values, PeerName.HYPERCORN)
    assert app.settings == {"bind": [":80"], "access-log": "-", "app": "m:app"}
    assert [note[:40] for note in app.notes] == ["not carried over: hypercorn's worker_cla"]


@pytest.mark.parametrize("peer", [PeerName.GUNICORN, PeerName.HYPERCORN])
def test_a_file_that_names_no_app_says_where_to_name_it(peer: PeerName) -> None:
    """The usual case: the command line names the app beside the file."""
    text = format_single(convert_server_settings({"workers": 2}, peer), "gunicorn.conf.py")
    assert "# The file names no app: name it on the command line, as in prefork -c" in text
    assert tomllib.loads(text) == {"workers": 2}
    named = {"wsgi_app": "m:app", "application_path": "m:app"}
    assert not convert_server_settings(named, peer).notes


def test_keys_that_are_no_bare_ones_are_quoted() -> None:
    text = format_apps([ConvertedApp("a.b", env={"A B": "x"})], "eco")
    assert tomllib.loads(text) == {"apps": {"a.b": {"env": {"A B": "x"}}}}


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("server.js", ["prefork -- node server.js runs it as a program, prefork start server.js"]),
        ("app.ts", ["prefork -- npx tsx app.ts"]),
        ("./run", ["prefork -- ./run runs it"]),
        ("app/app", ["app/app names a file, not MODULE:CALLABLE", "prefork -- app/app runs it"]),
        ("./manage.py", ["is Django's command: prefork PROJECT.wsgi:application serves"]),
        ("job.rb", ["prefork -- ruby job.rb"]),
        ("shop/main.py", ["prefork shop.main:app serves", "prefork -- python3 shop/main.py runs"]),
        ("./shop/wsgi.py:application", ["as in shop.wsgi:application"]),
        ("file:main.py:app", ["as in main:app"]),
        ("asgi:main:app", ["without hypercorn's prefix asgi:, as in main:app"]),
        ("supervisord.conf", ["prefork start supervisord.conf"]),
        ("jobs.ini", ["prefork convert jobs.ini"]),
        ("prefork.toml", ["prefork -c prefork.toml, or prefork start prefork.toml"]),
        ("ecosystem.config.js", ["prefork start ecosystem.config.js"]),
        ("Procfile.dev", ["prefork start Procfile.dev"]),
        ("gunicorn.conf.py", ["prefork convert gunicorn.conf.py > prefork.toml"]),
        ("conf/gunicorn_config.py", ["prefork convert conf/gunicorn_config.py"]),
        ("gunicornish.py", ["prefork gunicornish:app serves"]),
    ],
)
def test_a_file_in_the_place_of_an_app_gets_its_command_line(word: str, parts: list[str]) -> None:
    assert all(part in explain_file(word) for part in parts), explain_file(word)


@pytest.mark.parametrize("word", ["main", "shop.wsgi", "shop.wsgi:application", "m:f('a/b')", ""])
def test_an_app_is_no_file(word: str) -> None:
    assert explain_file(word) == ""
    assert not [kind for kind in (is_script, is_ecosystem, is_procfile) if kind(word)]
