"""The command line: every option has a flag, and errors of argparse become UsageError."""

import re

import pytest

from prefork.config import OPTIONS, resolve
from prefork.config.addresses import TcpAddress
from prefork.config.flags import build_parser, help_text, parse_arguments
from prefork.config.options import POSITIONAL, Option, by_group
from prefork.config.sources import file_layer
from prefork.errors import UsageError

FLAGS = {name: option for name, option in OPTIONS.items() if name not in POSITIONAL}

with pytest.MonkeyPatch.context() as patch:
    # So wide that nothing is wrapped, whatever terminal the tests run in.
    patch.setenv("COLUMNS", "1000")
    HELP = build_parser().format_help()

RIGHT = {
    "cron": "0 4 * * *",
    "max_memory_measure": "rss",
    "interface": "wsgi",
    "ready": "manual",
    "bind": "9000",
    "stop_signal": "INT",
    "env": "A=1",
    "umask": "027",
    "log_level": "debug",
    "proxy_allow": "10.0.0.0/8",
    "tls_client": "required",
    "tls_minimum": "1.3",
    "tls_password": "env:WORD",
    "status_token": "env:WORD",
    "store": "memory",
    "store_size": "7m",
    "access_log_format": "json",
    "log_format": "json",
    "log_split": "slot",
    "forwarded_allow": "10.0.0.0/8",
    "forwarded_headers": "forwarded",
    "root_path": "/shop",
    "ws_compression": "off",
    "websocket": "off",
    "underscores": "refuse",
    "accept": "any",
    "node_shim": "off",
    "instance_var": "INSTANCE_ID",
}
"""A value for each option that does not take the word 7."""


def config_of(*words: str):
    return resolve([parse_arguments(words)[0]]).config


def wrong(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        config_of(*words)
    assert caught.value.exit_code == 100
    return str(caught.value)


@pytest.mark.parametrize("option", FLAGS.values(), ids=FLAGS)
def test_every_option_has_a_flag(option: Option) -> None:
    words = (
        [option.flag, RIGHT.get(option.name, "7")] if option.value_type.metavar else [option.flag]
    )
    layer, _ = parse_arguments(words)
    assert set(layer.values) == {option.name}
    assert getattr(resolve([layer]).config, option.name) != option.default


@pytest.mark.parametrize("option", FLAGS.values(), ids=FLAGS)
def test_every_flag_is_in_the_help_with_its_text_and_default(option: Option) -> None:
    metavar = f" {option.value_type.metavar}" if option.value_type.metavar else ""
    # Python 3.13 stopped to repeat the metavar after the short flag.
    short = rf"{option.short}({re.escape(metavar)})?, " if option.short else ""
    line = rf"^  {short}{option.flag}{re.escape(metavar)}\s+{re.escape(help_text(option))}$"
    assert re.search(line, HELP, re.MULTILINE)


def test_the_help_has_a_section_for_each_group_in_the_order_of_declaration() -> None:
    titles = [group for group, _ in by_group()] + ["Instead of serving"]
    assert re.findall(r"^(\w.*):$", HELP, re.MULTILINE)[: len(titles)] == titles
    for (_, options), section in zip(by_group(), re.split(r"\n\n\w.*:\n", HELP)[1:], strict=False):
        message = re.findall(r"^  (?:-\w(?: \S+)?, )?(--[a-z-]+)", section, re.MULTILINE)
        assert message == [option.flag for option in options if option.name not in POSITIONAL]


def test_everything_after_two_dashes_is_the_command() -> None:
    config = config_of("-w", "2", "--", "node", "server.js", "-w", "--", "3")
    assert (config.workers, config.app) == (2, "")
    assert config.command == ("node", "server.js", "-w", "--", "3")


def test_an_app_replaces_the_command_of_a_file_and_a_command_its_app() -> None:
    file = file_layer({"app": "m:app", "command": ["node"]}, "prefork.toml", "")
    for words, app, command in ((["a:b"], "a:b", ()), (["--", "deno"], "", ("deno",))):
        config = resolve([file, parse_arguments(words)[0]]).config
        assert (config.app, config.command) == (app, command)


def test_short_flags_and_names_are_unique() -> None:
    shorts = [option.short for option in OPTIONS.values() if option.short] + ["-c", "-h"]
    assert len(shorts) == len(set(shorts))


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("bind", "(default: 127.0.0.1:8000)"),
        ("workers", "(default: 1)"),
        ("linger", "(default: 1s)"),
    ]
    + [
        ("threads", "(default: 0)"),
        ("timeout", "(default: 30s)"),
        ("limit_body", "(default: off)"),
    ],
)
def test_the_help_shows_a_default_in_the_form_of_a_file(name: str, tail: str) -> None:
    assert help_text(OPTIONS[name]).endswith(tail)


@pytest.mark.parametrize("name", ["factory", "chdir", "env", "pythonpath", "umask"])
def test_the_help_shows_no_empty_default(name: str) -> None:
    assert help_text(OPTIONS[name]) == OPTIONS[name].text


def test_the_layer_has_only_options_of_the_command_line() -> None:
    layer, words = parse_arguments([])
    assert layer.values == {}
    assert not hasattr(words, "config")


def test_the_app_is_the_positional_argument_at_any_position() -> None:
    for words in (["m:app", "-w", "2"], ["-w", "2", "m:app"], ["-D", "m:app", "-w2"]):
        config = config_of(*words)
        assert (config.app, config.workers) == ("m:app", 2)


@pytest.mark.parametrize("words", [("-w", "-1"), ("-w-1",), ("--workers", "-1"), ("--workers=-1",)])
def test_workers_may_be_negative(words: tuple[str, ...]) -> None:
    assert config_of(*words).workers == -1


def test_repeatable_flags_add_up() -> None:
    config = config_of("-b", "8001", "-b", "[::1]:8002", "-e", "A=1", "-e", "B=two words")
    assert config.bind == (TcpAddress("127.0.0.1", 8001), TcpAddress("::1", 8002))
    assert config.env == {"A": "1", "B": "two words"}


def test_a_value_with_white_space_is_not_split() -> None:
    assert config_of("--pythonpath", "my folder").pythonpath == ("my folder",)


def test_a_flag_without_a_value_is_true() -> None:
    assert config_of("-D", "--factory").daemon is True


def test_the_last_of_two_values_wins() -> None:
    assert config_of("-w", "2", "-w", "3").workers == 3


def test_words_that_are_no_options_are_in_the_namespace() -> None:
    layer, words = parse_arguments(
        ["-c", "x.toml", "--check", "--print-config", "--version", "-h", "m:app"]
    )
    assert layer.values == {"app": "m:app", "command": ()}
    assert words.config == "x.toml"
    assert words.check
    assert words.print_config
    assert words.version
    assert words.help


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wrokers", "4", "m:app"], "no option is called --wrokers; did you mean --workers?"),
        (["m:app", "--wrokers=4"], "no option is called --wrokers; did you mean --workers?"),
        (["--pidfle", "x"], "no option is called --pidfle; did you mean --pid-file?"),
        (["--prot", "80"], "no option is called --prot; did you mean --port?"),
        (["--relaod", "m:app"], "no option is called --relaod; did you mean --reload?"),
        (["--thr"], "no option is called --thr; did you mean --threads or --threads-queue?"),
        (["--work"], "no option is called --work; did you mean --workers?"),
        (["-x"], "no option is called -x; see prefork --help"),
        (["--qqqqqq"], "no option is called --qqqqqq; see prefork --help"),
        (["a:b", "--", "node"], "'a:b' and a command after --: one of them"),
        (["-w", "2", "--"], "there is no program after --, as in -- node server.js"),
        (
            ["a:b", "c:d"],
            "unexpected argument 'c:d': only one app can be served; see prefork --help",
        ),
        (["-w"], "argument -w/--workers: expected one argument; see prefork --help"),
        (
            ["--daemon=no"],
            "argument -D/--daemon: ignored explicit argument 'no'; see prefork --help",
        ),
        (["-w", "x"], "--workers = 'x' is wrong: expected a whole number, or max"),
    ],
)
def test_an_error_suggests_the_nearest_flag(words: list[str], message: str) -> None:
    assert wrong(*words) == f"command line: {message}"


def test_the_usage_is_one_line_without_percent_signs() -> None:
    assert HELP.startswith(
        "usage: prefork [OPTIONS] MODULE:CALLABLE, or prefork [OPTIONS] -- PROGRAM ARGUMENTS\n"
    )
    assert "%" not in HELP
