"""Merging four sources into one Config, and errors: key, source, expected value, nearest key."""

import os

import pytest

from prefork.config import OPTIONS, Config, Layer, Resolved, resolve
from prefork.config.addresses import InheritedSocket, TcpAddress, UnixAddress
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.sources import (
    RESERVED,
    environment_layer,
    file_layer,
    keyword_layer,
    kubernetes_variables,
)
from prefork.errors import UsageError

FILE = "/etc/app/prefork.toml"


def file(folder: str = "/etc/app", **table: object) -> Layer:
    return file_layer(table, FILE, folder)


def flags(**values: object) -> Layer:
    return Layer("command line", values)


def error_message(*layers: Layer) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(layers)
    return str(caught.value)


def test_without_layers_every_option_has_its_default() -> None:
    assert resolve([]) == Resolved(Config(), dict.fromkeys(OPTIONS, "default"))


def test_precedence_is_flag_environment_file_default() -> None:
    layers = [
        file(workers=1, threads=1, backlog=1),
        environment_layer({"PREFORK_WORKERS": "2", "PREFORK_THREADS": "2"}),
        flags(workers="3"),
    ]
    resolved = resolve(layers)
    config, places = resolved.config, resolved.sources
    assert (config.workers, places["workers"]) == (3, "command line")
    assert (config.threads, places["threads"]) == (2, "environment")
    assert (config.backlog, places["backlog"]) == (1, FILE)
    assert (config.surge, places["surge"]) == (1, "default")


def test_a_list_replaces_the_list_of_a_weaker_source() -> None:
    resolved = resolve([file(bind=["8001", "8002"]), flags(bind=["8003"])])
    assert resolved.config.bind == (TcpAddress("127.0.0.1", 8003),)


@pytest.mark.parametrize("key", ["kill-timeout", "kill_timeout"])
def test_a_key_in_a_file_may_have_dashes_or_underscores(key: str) -> None:
    assert resolve([file_layer({key: "5s"}, FILE, "")]).config.kill_timeout == 5.0


def test_a_key_with_both_spellings_in_a_file_is_refused() -> None:
    with pytest.raises(UsageError, match=f"^{FILE}: kill_timeout is set twice"):
        file_layer({"kill-timeout": "5s", "kill_timeout": "6s"}, FILE, "")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (file(kill_timeout="soon"), f"{FILE}: kill-timeout = 'soon' is wrong"),
        (
            environment_layer({"PREFORK_KILL_TIMEOUT": "soon"}),
            "environment: PREFORK_KILL_TIMEOUT = 'soon' is wrong",
        ),
        (flags(kill_timeout="soon"), "command line: --kill-timeout = 'soon' is wrong"),
        (keyword_layer({"kill_timeout": "soon"}), "prefork.run(): kill_timeout = 'soon' is wrong"),
    ],
    ids=["file", "environment", "flag", "python"],
)
def test_an_error_names_source_and_key_in_its_notation(layer: Layer, message: str) -> None:
    assert error_message(layer) == f"{message}: expected a duration such as 30s, 1600ms or 2m"


def test_a_wrong_value_is_refused_even_if_it_is_overridden() -> None:
    assert FILE in error_message(file(workers="x"), flags(workers="2"))


def test_an_unknown_key_is_refused_with_the_nearest_key() -> None:
    with pytest.raises(UsageError) as caught:
        file(kill_timout="5s")
    assert str(caught.value) == (
        f"{FILE}: no option is called 'kill_timout'; did you mean kill-timeout?"
    )


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        file(kill_timout="5s", workers="x", surge=0, pid="1")
    assert str(caught.value).split("\n  and ") == [
        f"{FILE}: no option is called 'kill_timout'; did you mean kill-timeout?",
        f"{FILE}: no option is called 'pid': PM2's pid is pid-file here (with the pid of "
        "the master)",
        f"{FILE}: workers = 'x' is wrong: expected a whole number, or max",
        f"{FILE}: surge = 0 is wrong: expected a number from 1 up",
    ]
    text = error_message(file(workers="x"), environment_layer({"PREFORK_SURGE": "0"}))
    assert f"{FILE}: workers = 'x'" in text
    assert "\n  and environment: PREFORK_SURGE = '0'" in text
    with pytest.raises(UsageError, match=r"PREFORK_A.*\n  and .*PREFORK_B.*\n  and .*_SURGE = '0'"):
        environment_layer({"PREFORK_A_A": "", "PREFORK_B_B": "", "PREFORK_SURGE": "0"})


def test_an_error_names_what_was_typed() -> None:
    layer = Layer("command line", {"kill_timeout": "x"}, typed={"kill_timeout": "--wait x"})
    assert error_message(layer).startswith("command line: --wait x is wrong: expected a duration")
    layer = Layer("command line", {"env": ["x"]}, typed={"env": "--secret x"})
    assert error_message(layer).startswith("command line: --secret is wrong: expected KEY=VALUE")


def test_requests_have_the_time_of_the_loop_unless_they_have_their_own() -> None:
    resolved = resolve([file(timeout="5s")])
    assert (resolved.config.request_timeout, resolved.sources["request_timeout"]) == (5, "timeout")
    assert resolve([file(timeout="off")]).config.request_timeout is None
    assert resolve([file(timeout="5s", request_timeout="off")]).config.request_timeout is None
    assert resolve([file(request_timeout="2m")]).config.timeout == Config().request_timeout == 30


def test_an_unknown_keyword_argument_is_refused_in_pythons_spelling() -> None:
    with pytest.raises(UsageError, match=r"^prefork.run\(\): .*'pidfil'; did you mean pid_file\?$"):
        keyword_layer({"pidfil": "x"})
    with pytest.raises(UsageError, match=r"'spew': gunicorn's spew=True is not to be had: "):
        keyword_layer({"spew": True})
    with pytest.raises(UsageError, match=r"'uid': PM2's uid is user here \(the master has to be"):
        keyword_layer({"uid": "x"})
    assert keyword_layer({"pidfile": "x"}).values == {"pid_file": "x"}


def test_an_unknown_variable_is_refused_with_the_nearest_variable() -> None:
    with pytest.raises(UsageError, match=r"^environment: .* did you mean PREFORK_WORKERS\?$"):
        environment_layer({"PREFORK_WROKERS": "2"})


def test_a_key_unlike_all_others_is_refused_with_a_hint_at_the_help() -> None:
    with pytest.raises(UsageError, match=r"'qqq'; see prefork --help$"):
        file(qqq=1)


def test_a_table_in_a_file_is_an_unknown_key_too() -> None:
    with pytest.raises(UsageError, match="'server'"):
        file(server={"workers": 2})


def test_wrong_usage_exits_with_100() -> None:
    assert UsageError.exit_code == 100


def test_variables_without_the_prefix_are_ignored() -> None:
    environ = {"PATH": "/bin", "PREFORKED": "1", "prefork_workers": "7"}
    assert environment_layer(environ).values == {}


def test_variables_set_by_prefork_are_no_options() -> None:
    assert environment_layer(dict.fromkeys(RESERVED, "x")).values == {}
    assert {"PREFORK_SLOT", "PREFORK_CONFIG"} <= RESERVED.keys()
    assert not RESERVED.keys() & {option.variable for option in OPTIONS.values()}


SERVICES = ("PREFORK", "PREFORK_API", "PREFORK_BIND", "PREFORK_PORT_80")
"""Names of Services in the form in which Kubernetes puts them into names of variables."""

MADE = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "8000",
    "SERVICE_PORT_HTTP_METRICS": "8000",
    "PORT": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP_PROTO": "tcp",
    "PORT_8000_TCP_PORT": "8000",
    "PORT_8000_UDP_ADDR": "10.0.0.1",
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("end", MADE)
def test_variables_set_by_kubernetes_set_no_option(service: str, end: str) -> None:
    variable = f"{service}_{end}"
    environ = {variable: MADE[end], "PREFORK_WORKERS": "2"}
    assert environment_layer(environ).values == {"workers": "2"}
    assert kubernetes_variables(environ) == [variable]


def test_no_option_has_the_name_of_a_kubernetes_variable() -> None:
    variables = dict.fromkeys((option.variable for option in OPTIONS.values()), "tcp://10.0.0.1:80")
    assert kubernetes_variables(variables) == []


@pytest.mark.parametrize(
    "variable",
    [
        "PREFORK_SERVICE",
        "PREFORK_PORTS",
        "PREFORK_",
        "PREFORK_PORT",
        "PREFORK_STATUS_PORT",
        "PREFORK_API_PORT_8000",
        "PREFORK_API_PORT_8000_TCP_NAME",
    ],
)
def test_a_variable_similar_to_kubernetes_ones_is_refused(variable: str) -> None:
    with pytest.raises(UsageError, match=f"no option is called {variable}"):
        environment_layer({variable: "8000"})


def test_the_environment_is_text_and_read_like_a_flag() -> None:
    environ = {
        "PREFORK_BIND": "8001 'unix:/run/my app.sock,mode=660'",
        "PREFORK_DAEMON": "yes",
        "PREFORK_ENV": "A=1 B='x y'",
        "PREFORK_MAX_REQUESTS": "off",
    }
    config = resolve([environment_layer(environ)]).config
    assert config.bind == (TcpAddress("127.0.0.1", 8001), UnixAddress("/run/my app.sock", 0o660))
    assert config.daemon is True
    assert config.env == {"A": "1", "B": "x y"}
    assert config.max_requests is None


@pytest.mark.parametrize("folder", ["/etc/app", ".", "sub"])
def test_an_abstract_name_in_a_file_is_no_path(folder: str) -> None:
    layer = file_layer({"bind": ["unix:@app", "unix:./@app"]}, "prefork.toml", folder)
    name, path = resolve([layer]).config.bind
    assert name == UnixAddress("@app")
    assert isinstance(path, UnixAddress)
    assert not path.is_abstract
    assert os.path.normpath(path.path) == os.path.normpath(f"{folder}/@app")


def test_relative_paths_in_a_file_start_at_its_folder() -> None:
    config = resolve(
        [
            file(
                chdir="../code",
                pid_file="run/./pid",
                pythonpath=["lib", "/opt/lib"],
                bind=["unix:app.sock,mode=600", "unix:/run/app.sock", "8000", "fd://3"],
                tls_cert=["a.pem", "b.pem,key=/etc/b.key"],
                tls_password="file:word",
            )
        ]
    ).config
    assert config.chdir == "/etc/code"
    assert config.pid_file == "/etc/app/run/pid"
    assert config.pythonpath == ("/etc/app/lib", "/opt/lib")
    assert config.bind == (
        UnixAddress("/etc/app/app.sock", 0o600),
        UnixAddress("/run/app.sock"),
        TcpAddress("127.0.0.1", 8000),
        InheritedSocket(3),
    )
    assert config.tls_cert == (
        CertificateFiles("/etc/app/a.pem"),
        CertificateFiles("/etc/app/b.pem", "/etc/b.key"),
    )
    assert config.tls_password == PasswordSource("/etc/app/word")


def test_a_password_variable_does_not_depend_on_the_files_folder() -> None:
    assert resolve([file(tls_password="env:WORD")]).config.tls_password == PasswordSource(
        variable="WORD"
    )


def test_a_password_in_place_of_its_source_is_not_repeated_in_the_error() -> None:
    with pytest.raises(UsageError) as caught:
        resolve([flags(tls_password="hunter2")])
    assert "--tls-password is wrong: expected file:PATH or env:NAME" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_empty_path_and_stdout_are_not_resolved() -> None:
    config = resolve([file(access_log="-", log_file="")]).config
    assert (config.access_log, config.log_file) == ("-", "")


def test_a_text_that_is_no_path_is_not_resolved() -> None:
    assert resolve([file(name="web", app="web:main")]).config.name == "web"


@pytest.mark.parametrize(
    "layer", [flags(chdir="code"), environment_layer({"PREFORK_CHDIR": "code"})]
)
def test_relative_paths_elsewhere_start_at_the_current_directory(layer: Layer) -> None:
    assert resolve([layer]).config.chdir == "code"


def test_with_watch_a_drain_is_short_unless_its_times_are_set() -> None:
    resolved = resolve([flags(watch="true", stream_timeout="7s")])
    assert (resolved.config.kill_timeout, resolved.config.stream_timeout) == (2.0, 7.0)
    assert (resolved.sources["kill_timeout"], resolved.sources["stream_timeout"]) == (
        "watch",
        "command line",
    )
    both = resolve([file(kill_timeout="30s", stream_timeout="10s"), flags(watch="true")]).config
    assert (both.kill_timeout, both.stream_timeout) == (30.0, 10.0)


def test_a_json_log_makes_the_access_log_json_unless_it_has_a_format() -> None:
    resolved = resolve([flags(log_format="json")])
    assert resolved.config.access_log_format == "json"
    assert resolved.sources["access_log_format"] == "log-format"
    resolved = resolve([flags(log_format="json", access_log_format="combined")])
    assert resolved.config.access_log_format == "combined"
    assert resolve([flags(log_format="text")]).config.access_log_format == "common"
