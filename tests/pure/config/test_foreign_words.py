"""Every word of other servers and managers gets its exact answer.

``peer_words.json`` has the words of the installed peers; ``scripts/peer-words`` reads them.
"""

import json
import re
import shlex
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.cli.manual.manual_pages import read_pages
from prefork.config import OPTIONS, resolve
from prefork.config.flags import own_flags, parse_arguments, translate_arguments
from prefork.config.foreign.foreign_table import WORDS, find_flag, find_key
from prefork.config.foreign.foreign_variables import describe_foreign_variables
from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS
from prefork.config.foreign.foreign_word import ForeignWord, How, PeerName
from prefork.config.foreign.peer_tables import verb_table, word_table
from prefork.config.sources import file_layer, keyword_layer
from prefork.errors import UsageError
from prefork.wire.verb_table import START, commands

PEERS = json.loads(Path(__file__).with_name("peer_words.json").read_text(encoding="utf-8"))
"""Of each peer its version, flags (with the number of their values), keys, and verbs with flags."""

SERVERS = ("gunicorn", "uvicorn", "hypercorn", "granian")

VALUES = {
    "--worker-class": "gevent",
    "-k": "uvicorn.workers.UvicornWorker",
    "--umask": "027",
    "-m": "027",
    "--bind": "0.0.0.0",
    "-b": ":80",
    "--env": "A=1",
    "-e": "A=1",
    "--cert-reqs": "2",
    "--ssl-cert-reqs": "1",
    "--verify-mode": "CERT_REQUIRED",
    "--header-map": "dangerous",
    "--proxy-allow-from": "10.0.0.1,10.0.0.2",
    "--proxy-protocol": "auto",
    "--access-logformat": '%(h)s "%(r)s" %(s)s',
    "--forwarded-allow-ips": "*",
    "--log-level": "critical",
    "--interface": "wsgi",
    "--ws-per-message-deflate": "false",
    "--http": "auto",
    "--ws": "auto",
    "--lifespan": "on",
    "--host": "::1",
    "--root-path": "/shop",
    "--url-path-prefix": "/shop",
    "--uds-permissions": "660",
    "--ssl-protocol-min": "tls1.3",
    "--cron": "0 4 * * *",
    "--cron-restart": "0 4 * * *",
    "--log-type": "json",
    "--max-memory-restart": "300M",
    "--instance-var": "ID",
}
"""A value of the peer for each flag that does not take 7."""


def flags_of(*peers: str) -> list[tuple[str, str, int]]:
    return [(peer, flag, takes) for peer in peers for flag, takes in PEERS[peer]["flags"].items()]


@pytest.mark.parametrize(("peer", "flag", "takes"), flags_of(*SERVERS, "PM2"))
def test_every_flag_is_taken_or_answered_when_it_serves(peer: str, flag: str, takes: int) -> None:
    words = [flag, *[VALUES.get(flag, "7")][:takes], "m:app"]
    if flag in ("--watch", "-w"):  # -w of PM2 takes no value, ours does
        words = [flag, "1", "m:app"] if flag == "-w" else [flag, "m:app"]
    if flag in ("-c", "--config", "--print-config", "--version", "-v"):
        words.remove("m:app")
    known = find_flag(flag, PeerName(peer))
    assert known, f"{peer} {flag}"
    error = error_of(words)
    if error:
        assert "no option is called" not in error
        assert f"{peer}'s" in error or f"{peer} and" in error, error
    expected = {How.OTHER, How.ABSENT, How.SAME} if error else {How.TAKEN, How.IGNORED, How.SAME}
    assert (not error and flag in own_flags()) or expected & {word.how for word in find_flag(flag)}


def error_of(words: list[str]) -> str:
    """Return the error about a command line, or ""."""
    try:
        translation = translate_arguments(words)
        resolve([parse_arguments(translation.words, translation.typed)[0]])
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("peer", "flag", "takes"), flags_of(*SERVERS, "PM2"))
def test_a_flag_takes_as_many_words_as_its_peer_gives_it(peer: str, flag: str, takes: int) -> None:
    optional = {"--watch", "--proxy-protocol", "--access-log"}
    assert flag in optional or takes in {word.takes for word in find_flag(flag, PeerName(peer))}


@pytest.mark.parametrize("flag", PEERS["supervisor"]["flags"])
def test_every_flag_of_supervisor_is_known(flag: str) -> None:
    assert flag == "-?" or find_flag(flag, PeerName.SUPERVISOR)


@pytest.mark.parametrize(
    ("peer", "key"), [(peer, key) for peer, words in PEERS.items() for key in words["keys"]]
)
def test_every_setting_and_hook_is_answered_in_a_file(peer: str, key: str) -> None:
    known = find_key(key, PeerName(peer))
    assert known, f"{peer} {key}"
    name = key.replace("*", "production")
    if name.replace("-", "_") not in OPTIONS:
        with pytest.raises(UsageError, match=rf"no option is called .*: .*{peer}.*{name}"):
            file_layer({name: 1}, "prefork.toml", "")


@pytest.mark.parametrize(
    ("peer", "verb"),
    [(peer, verb) for peer in ("PM2", "supervisor") for verb in PEERS[peer]["verbs"]],
)
def test_every_verb_is_known(peer: str, verb: str) -> None:
    words = {"help", "version"}  # these are flags of ours, too
    foreign = FOREIGN_VERBS.get(verb)
    if foreign is None:
        assert verb in {*commands(), *words}
        taken = verb
    else:
        assert verb not in commands()
        assert peer in {each.replace("supervisorctl", "supervisor") for each in foreign.peers}
        assert not foreign.verb or foreign.verb in commands()
        assert foreign.verb or foreign.advice
        taken = foreign.verb
    for flag in PEERS[peer]["verbs"][verb] if taken else ():
        assert find_flag(flag, PeerName.PM2, taken), f"{verb} {flag}"


def shown_flags(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)


FOREIGN_TEXTS = {"--enable-source-maps", "--inspect"}
"""Flags of Node in the texts."""

OUR_FLAGS = (
    set(own_flags())
    | {flag for verb in commands().values() for each in verb.arguments for flag in each.flags}
    | {flag for each in START.arguments for flag in each.flags}
    | FOREIGN_TEXTS
)


@pytest.mark.parametrize(
    "word", WORDS, ids=lambda word: f"{word.peer.value} {word.flags or word.keys}"
)
def test_what_a_text_names_is_there(word: ForeignWord) -> None:
    own = {flag for each in find_flag_group(word) for flag in each.flags}
    for flag in shown_flags(f"{word.ours} {word.text}"):
        assert flag in OUR_FLAGS or flag in own, flag
    for verb in re.findall(r"`prefork ([a-z]+)\b(?!-)", f"{word.ours} {word.text}"):
        assert verb in {*commands(), "help", "convert"}, verb
    if word.how is How.TAKEN and word.convert is None:
        assert word.option in OPTIONS
        assert bool(OPTIONS[word.option].value_type.metavar) == bool(word.takes)


def find_flag_group(word: ForeignWord) -> list[ForeignWord]:
    return [each for each in WORDS if each.peer is word.peer]


@pytest.mark.parametrize("verb", FOREIGN_VERBS.values(), ids=FOREIGN_VERBS)
def test_what_the_advice_about_a_verb_names_is_there(verb) -> None:
    assert set(shown_flags(verb.advice)) <= OUR_FLAGS
    for word in re.findall(r"prefork ([a-z]+)\b(?!-)", verb.advice):
        assert word in {*commands(), "help", "installs"} or word in ("has",), word


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--host 0.0.0.0 --port 80", {"bind": "0.0.0.0:80"}),
        ("--host ::", {"bind": "[::]:8000"}),
        ("--host [::1] --port 1", {"bind": "[::1]:1"}),
        ("--port=9000", {"bind": "127.0.0.1:9000"}),
        ("--uds /run/app.sock", {"bind": "unix:/run/app.sock"}),
        ("--uds /run/app.sock --uds-permissions 0o660", {"bind": "unix:/run/app.sock,mode=660"}),
        ("--fd 3", {"bind": "fd://3"}),
        ("--reload", {"watch": "true"}),
        ("--no-reload", {"watch": "false"}),
        ("--reload-extra-file a.html", {"watch_path": [".", "a.html"]}),
        ("--graceful-timeout 5", {"kill_timeout": "8s"}),
        ("--graceful-timeout=90s", {"kill_timeout": "97s"}),
        ("--timeout-graceful-shutdown 15", {"kill_timeout": "22s"}),
        ("--workers-kill-timeout 5", {"kill_timeout": "5"}),
        ("--timeout-worker-healthcheck 3", {"timeout": "3", "request_timeout": "off"}),
        ("-k uvicorn.workers.UvicornWorker -t 9", {"timeout": "9", "request_timeout": "off"}),
        ("--request-timeout 5 -k asgi", {"request_timeout": "5"}),
        ("-k asgi --request-timeout 5", {"request_timeout": "5"}),
        ("--limit-request-line 0", {"limit_line": "0"}),
        ("--limit-request-field_size 0", {}),
        ("--reload-delay 0", {"watch_delay": "10ms"}),
        ("--reload-delay 0.5", {"watch_delay": "0.5"}),
        ("--ws none", {"websocket": "off"}),
        ("--no-ws", {"websocket": "off"}),
        ("--preload", {}),
        ("--pid a.pid", {"pid_file": "a.pid"}),
        ("--certfile a --keyfile b", {"tls_cert": ["a"], "tls_key": "b"}),
        ("--ssl-cert-reqs 2", {"tls_client": "required"}),
        ("--verify-mode CERT_OPTIONAL", {"tls_client": "optional"}),
        ("--access-logfile -", {"access_log": "-"}),
        ("--access-log", {"access_log": "-"}),
        ("--access-log --workers 2", {"access_log": "-", "workers": "2"}),
        ("--no-access-log", {"access_log": ""}),
        ("--access-log a.log", {"access_log": "a.log"}),
        ("--error-logfile -", {"log_file": ""}),
        ("-k gevent", {}),
        ("-kgevent", {}),
        ("-k gthread --threads 4", {"threads": "4"}),
        ("-k mine.Worker", {}),
        ("-k uvloop", {}),
        ("--worker-class=sync", {}),
        ("-i max", {"workers": "max"}),
        ("-i -1", {"workers": "-1"}),
        ("-i4", {"workers": "4"}),
        ("--max-memory-restart 300M", {"max_memory": "300M"}),
        ("--workers-max-rss 300", {"max_memory": "300m"}),
        ("--listen-timeout 3000", {"boot_timeout": "3000ms"}),
        ("--listen-timeout 3s", {"boot_timeout": "3s"}),
        ("--no-daemon", {"daemon": "false"}),
        ("-m 007", {"umask": "007"}),
        ("-t 30", {"timeout": "30"}),
        ("--proxy-protocol auto", {"proxy_protocol": "true"}),
        ("--proxy-protocol off", {"proxy_protocol": "false"}),
        ("--proxy-protocol", {"proxy_protocol": "true"}),
        ("--proxy-headers", {}),
        ("--no-proxy-headers", {"forwarded_allow": ["off"]}),
        ("--forwarded-allow-ips *", {"forwarded_allow": ["*"]}),
        ("--proxy-allow-from 10.0.0.1,10.0.0.2", {"proxy_allow": ["10.0.0.1", "10.0.0.2"]}),
        ("--ignore-watch logs,tmp", {"watch_ignore": ["logs", "tmp"]}),
        ("--watch ./src", {"watch": "true", "watch_path": ["./src"]}),
        ("--watch", {"watch": "true"}),
        ("--wait-ready", {"ready": "manual"}),
        ("--restart-delay 3000 --exp-backoff-restart-delay 100", {}),
        ("--disable-source-map-support", {}),
        ("--server-header", {}),
        ("-c file --server-header x", {"server_header": "x"}),
        ("--server-header x-y", {"server_header": "x-y"}),
        ("--ws-per-message-deflate false", {"ws_compression": "off"}),
        ("--header-map dangerous", {"underscores": "allow"}),
        ("--http auto --ws auto --loop uvloop --lifespan on", {}),
        ("-- node -k 1", {"command": ["node", "-k", "1"], "app": ""}),
        ("--host 0.0.0.0 -- node -k 1", {"bind": "0.0.0.0:8000", "command": ["node", "-k", "1"]}),
    ],
)
def test_a_flag_that_means_the_same_is_taken(words: str, settings: dict[str, object]) -> None:
    layer, _ = parse_arguments(translate_arguments(words.split()).words)
    values = {name: value for name, value in layer.values.items() if name in settings}
    expected = {name: [value] if name == "bind" else value for name, value in settings.items()}
    assert values == expected
    assert set(layer.values) <= {*settings, "app"}


@pytest.mark.parametrize(
    ("words", "paths", "target"),
    [
        ("m:app --watch src", ["src"], "m:app"),
        ("--watch src m:app", ["src"], "m:app"),
        ("--watch src -w 2 -- node x.js", ["src"], ["node", "x.js"]),
        ("--watch web -w 2", None, "web"),
        ("--watch m:app", None, "m:app"),
    ],
)
def test_a_word_behind_watch_that_is_no_target_is_a_path(
    words: str, paths: list[str] | None, target: object
) -> None:
    values = parse_arguments(translate_arguments(words.split()).words)[0].values
    assert (values["watch"], values.get("watch_path")) == ("true", paths)
    assert (values["app"] or values["command"]) == target


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("python -m uvicorn m:app", "leave out python -m uvicorn: prefork m:app"),
        ("node --inspect a.js", "a program stands behind -- .*: prefork -- node --inspect a.js"),
        ("npm run 'dev x'", "prefork -- npm run 'dev x'"),
    ],
)
def test_a_program_and_its_arguments_get_the_line_to_type(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        translate_arguments(shlex.split(words))


@pytest.mark.parametrize("words", ["node", "node:app -w 2", "-w 2 node", "web -w 2"])
def test_a_module_may_have_the_name_of_a_program(words: str) -> None:
    assert translate_arguments(words.split()).words == words.split()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("-k trio", ["hypercorn's -k has no counterpart: the event loop is uvloop"]),
        ("--ws-per-message-deflate m:app", ["--ws-per-message-deflate needs a value"]),
        ("--reload=yes m:app", ["--reload takes no value"]),
        (
            "--errorlog x",
            ["no option is called --errorlog: gunicorn's and hypercorn's errorlog is"],
        ),
        ("--accesslog -", ["accesslog is --access-log here"]),
        ("--port 99999 m:app", ["command line: --port 99999 is wrong: expected a port from 0 to"]),
        ("--host x --port y m:app", ["command line: --host x --port y is wrong: expected a port"]),
        ("--graceful-timeout 0", ["--graceful-timeout 0 is wrong: expected a duration above zero"]),
        ("--timeout-graceful-shutdown soon", ["--timeout-graceful-shutdown soon is wrong: exp"]),
        ("-b x", ["command line: --bind = 'x' is wrong: expected a port"]),
        ("--limit-header-size 0", ["expected a size above zero, such as 64k"]),
        (
            "-k 3000",
            ["PM2's -k is --kill-timeout here", "gunicorn's and hypercorn's -k is not nee"],
        ),
        ("--http 2", ["granian's --http has no counterpart", "uvicorn's --http is not needed"]),
        ("--lifespan off", ["cannot be turned off"]),
        ("--statsd-host x", ["gunicorn's and hypercorn's --statsd-host has no counterpart"]),
        ("--reuse-port --spew", ["gunicorn's --reuse-port", "\n  and gunicorn's --spew"]),
        ("--host", ["--host needs a value; uvicorn's and granian's --host is --bind HOST:PORT"]),
        ("--host --port 80", ["--host needs a value"]),
        ("--host x -b 80", ["--bind and --host: one of them says where to listen"]),
        ("--bind=80 --uds x", ["--bind and --uds: one of them"]),
        ("-e err.log", ["expected KEY=VALUE; PM2's --env is --env NAME", "PM2's -e is --log-dir"]),
        ("--only a", ["PM2's --only is a flag of `start FILE` here"]),
        ("--update-env m:app", ["PM2's --update-env is a flag of `start` and `restart` here"]),
        ("--reuse-port m:app", ["--reuse-port is not needed: workers", "; leave it out"]),
        ("--shutdown-with-message", ["has no counterpart: a program gets --stop-signal and no"]),
        ("--app m:app", ["the app is written without a flag: prefork MODULE:CALLABLE"]),
        ("--command=x", ["the command is written without a flag: prefork -- PROGRAM ARG"]),
        ("--nodaemon", ["supervisor's --nodaemon is prefork [OPTIONS] APP here"]),
        ("-u", ["expected one argument"]),
        ("--wrokers 4 --reuse-port", ["gunicorn's --reuse-port is not needed"]),
        ("--wrokers 4 --reload", ["no option is called --wrokers; did you mean --workers?"]),
    ],
)
def test_what_means_something_else_is_refused_with_its_answer(words: str, parts: list[str]) -> None:
    text = error_of(words.split())
    assert all(part in text for part in parts), text


def test_a_word_that_is_not_needed_is_ignored_with_a_line() -> None:
    notes = translate_arguments(["-k", "gevent", "--worker-tmp-dir=/dev/shm", "m:app"]).notes
    assert notes == [
        "ignored: gunicorn's -k gevent is not to be had: nothing is patched, and there are no "
        "greenlets; a worker calls a WSGI app for one request at a time, or for N with --threads "
        "N, and --timeout also ends slow requests",
        "ignored: gunicorn's --worker-tmp-dir /dev/shm is not needed: heartbeats are in shared "
        "memory and touch no file",
    ]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("--timeout-graceful-shutdown 15", "--timeout-graceful-shutdown 15 is --kill-timeout 22s "),
        (
            "--timeout-worker-healthcheck 3",
            "healthcheck 3 is --timeout 3 --request-timeout off here (",
        ),
        ("-k uvicorn.workers.UvicornWorker", "UvicornWorker is --request-timeout off here (--ti"),
        ("-k gthread", "a pool of threads is --threads N"),
        ("-k tornado", "a Tornado application is served by a main(listener)"),
        ("--limit-request-field_size 0", "no field has a limit of its own"),
    ],
)
def test_a_word_that_does_something_else_is_noted(words: str, note: str) -> None:
    (found,) = translate_arguments([*words.split(), "m:app"]).notes
    assert note in found


@pytest.mark.parametrize("app", ["m:app", "m:make('x')", "project.asgi", "main"])
@pytest.mark.parametrize(
    "flag", sorted({flag for _, flag, takes in flags_of(*SERVERS, "PM2") if not takes})
)
def test_a_flag_without_a_value_leaves_the_app(flag: str, app: str) -> None:
    error = error_of([flag, app])
    if error:
        assert "value" not in error
        assert not flag.startswith("-w") or "--workers" in error
    else:
        assert parse_arguments(translate_arguments([flag, app]).words)[0].values["app"] == app


@pytest.mark.parametrize(
    ("words", "log"),
    [
        ("--access-log a:b m:app", "a:b"),
        ("--access-log a:b --host c:d", "-"),
        ("--access-log log -c f", "log"),
        ("--access-log log m:app", "log"),
        ("--access-log log --workers 2 m:app", "log"),
        ("--access-log requests.json", "requests.json"),
        ("m:app --access-log log", "log"),
    ],
)
def test_a_value_before_the_app_stays_a_value(words: str, log: str) -> None:
    layer, _ = parse_arguments(translate_arguments(words.split()).words)
    assert layer.values["access_log"] == log


@pytest.mark.parametrize(
    ("words", "notes"),
    [("--kill-timeout 3000", 1), ("--kill-timeout=1600", 1), ("--kill-timeout 30", 0)]
    + [("--kill-timeout 3000ms", 0), ("--kill-timeout 2000s", 0), ("-w 3000", 0)],
)
def test_a_kill_timeout_that_was_meant_in_milliseconds_is_noted(words: str, notes: int) -> None:
    found = translate_arguments(words.split()).notes
    assert len(found) == notes
    assert all("a number without a unit counts seconds here, and milliseconds" in n for n in found)


@pytest.mark.parametrize("words", [["-w", "4", "-b", ":80", "m:app"], ["-w4", "--env=A=-k", "-"]])
def test_a_line_of_our_own_words_stays(words: list[str]) -> None:
    translation = translate_arguments(words)
    assert (translation.words, translation.notes) == (words, [])


@given(st.lists(st.text(max_size=8) | st.sampled_from(sorted({f for w in WORDS for f in w.flags}))))
def test_any_line_is_translated_or_refused(words: list[str]) -> None:
    with suppress(UsageError):
        translation = translate_arguments(words)
        assert translate_arguments(translation.words).words == translation.words


@pytest.mark.parametrize("peer", PeerName)
def test_the_table_of_a_peer_has_all_its_words(peer: PeerName) -> None:
    words = PEERS[peer.value]
    table = word_table(peer, words["version"])
    for word in (*words["flags"], *words["keys"]):
        assert f"`{word}`" in table or word in ("-?", "log"), word


@pytest.mark.parametrize("peer", PeerName)
def test_the_page_of_a_peer_has_its_table_and_its_version(peer: PeerName) -> None:
    page = read_pages()[f"coming-from-{peer.value.lower()}"].source
    table = word_table(peer, PEERS[peer.value]["version"])
    assert f"<!-- words -->\n{table}<!-- /words -->" in page, "run scripts/docs"
    assert f"{peer.value} {PEERS[peer.value]['version']}:\n" in page


@pytest.mark.parametrize("peer", ["PM2", "supervisorctl"])
def test_the_table_of_verbs_has_those_that_are_not_ours(peer: str) -> None:
    table = verb_table(peer, commands())
    for verb in PEERS[peer.replace("supervisorctl", "supervisor")]["verbs"]:
        assert f"| `{verb}` |" in table or verb in {*commands(), "help", "version"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"host": "0.0.0.0", "port": 80, "workers": 2}, {"bind": ["0.0.0.0:80"], "workers": 2}),
        ({"uds": "/run/a.sock", "reload": True}, {"bind": ["unix:/run/a.sock"], "watch": "true"}),
        ({"reload": False, "log_config": None, "loop": "uvloop", "headers": None}, {}),
        ({"reload_dirs": ["a", "b"]}, {"watch_path": ("a", "b")}),
        ({"timeout_keep_alive": 5, "proxy_headers": True}, {"keepalive": "5"}),
        ({"ssl_certfile": "c"}, {"tls_cert": "c"}),
        ({"access_log": False}, {"access_log": ""}),
        ({"access_log": True, "factory": True}, {"access_log": "-", "factory": True}),
        (
            {"access_log": "a.log", "log_level": "info"},
            {"access_log": "a.log", "log_level": "info"},
        ),
        ({"log_level": 20, "workers": None}, {"log_level": 20}),
        ({"proxy_headers": False, "server_header": False}, {"forwarded_allow": "off"}),
        ({"date_header": True, "use_colors": False, "reset_contextvars": False}, {}),
        ({"ws_per_message_deflate": False, "ws": "none"}, {"ws_compression": "off"}),
        ({"timeout_graceful_shutdown": 15}, {"kill_timeout": "22s"}),
        ({"timeout_worker_healthcheck": 3}, {"timeout": "3", "request_timeout": "off"}),
        ({"graceful_timeout": 5, "accesslog": "-"}, {"kill_timeout": "8s", "access_log": "-"}),
        ({"loglevel": "debug", "sendfile": False, "reload_dirs": []}, {"log_level": "debug"}),
        ({"preload_app": True, "worker_class": "uvicorn.workers.UvicornWorker"}, {}),
        ({"ssl_cert_reqs": ssl.CERT_REQUIRED}, {"tls_client": "required"}),
        ({"ssl_certificate": "c", "no_ws": True}, {"tls_cert": "c", "websocket": "off"}),
    ],
)
def test_arguments_of_uvicorn_run_are_taken(
    arguments: dict[str, object], expected: dict[str, object]
) -> None:
    layer = keyword_layer(arguments)
    assert layer.values | expected == layer.values
    assert set(layer.values) - set(expected) <= {"request_timeout", "websocket"}
    resolve([layer])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"headers": [("a", "b")]}, r"'headers': uvicorn's headers has no counterpart"),
        ({"ssl_version": 2}, r"'ssl_version': uvicorn's ssl_version is tls_minimum 1.2 here"),
        ({"qqqqq": 80}, r"'qqqqq'; see prefork --help"),
        ({"qqqqq": True}, r"'qqqqq'; see prefork --help"),
        ({"port": 99999}, r"^prefork.run\(\): port = 99999 is wrong: expected a port from"),
        ({"date_header": False}, r"'date_header': .* has no counterpart"),
        ({"workers": "many"}, r"workers = 'many' is wrong: expected a whole number, or max"),
        ({"chdir": True}, r"chdir = True is wrong"),
        ({"lifespan": "off"}, r"cannot be turned off"),
        (
            {"qq": 1, "workers": "x", "port": -1},
            r"'qq'.*\n  and .*workers = 'x'.*\n  and .*port = ",
        ),
        ({"port": 80, "bind": "1"}, r"prefork.run\(\): bind and port: one of them"),
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve([keyword_layer(arguments)])


def test_a_keyword_that_does_something_else_is_noted() -> None:
    notes = keyword_layer({"loop": "asyncio", "timeout_graceful_shutdown": 1}).notes
    assert [note.partition(" here")[0] for note in notes] == [
        "ignored: uvicorn's loop is not needed: the event loop is uvloop",
        "uvicorn's timeout_graceful_shutdown is --kill-timeout",
    ]


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"GUNICORN_CMD_ARGS": "-w 4"}, "GUNICORN_CMD_ARGS (write its flags on the command line);"),
        (
            {"UVICORN_PORT": "80", "UVICORN_LOOP": "auto", "UVICORN_HOME": "x"},
            "UVICORN_LOOP (ignored, with a line), UVICORN_PORT (PREFORK_BIND);",
        ),
        ({"GRANIAN_WORKERS": "4"}, "GRANIAN_WORKERS (PREFORK_WORKERS);"),
    ],
)
def test_variables_of_other_servers_are_named(environ: dict[str, str], shown: str) -> None:
    (line,) = describe_foreign_variables(environ)
    assert f"not read: {shown}" in line


def test_an_environment_without_such_variables_has_no_line() -> None:
    environ = {"PATH": "/bin", "UVICORN_HOME": "x", "GUNICORN_CMD_ARGS": "", "UVICORN_PORT": ""}
    assert describe_foreign_variables(environ) == []
