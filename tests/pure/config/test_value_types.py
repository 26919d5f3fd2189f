"""Value types: parsing, refusing with a message, and formatting."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from prefork.config import OPTIONS, value_types
from prefork.config.addresses import InheritedSocket, TcpAddress, UnixAddress, parse_address
from prefork.config.value_types import ValueType
from tests.pure.config.values import VALUES, addresses, durations, junk, values

ANY_KIND = sorted(
    {option.value_type for option in OPTIONS.values()}, key=lambda kind: kind.expected
)


def kind_id(kind: ValueType) -> str:
    return kind.expected


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
@given(data=st.data())
def test_a_formatted_value_parses_to_the_same_value(option: Any, data: st.DataObject) -> None:
    value = data.draw(values(option))
    assert option.value_type.parse(option.value_type.format(value)) == value


def test_a_path_to_connect_to_may_end_with_a_space_and_a_port_is_stripped() -> None:
    address = value_types.READY_CONDITION.parse(" connect:unix:a ").address
    assert address.path == "a "
    assert value_types.READY_CONDITION.parse("connect:3000 ").address.port == 3000


@pytest.mark.parametrize("kind", ANY_KIND, ids=kind_id)
@given(raw=junk())
@example(raw=10**400)
@example(raw=float("nan"))
@example(raw=['"'])
@example(raw='"')
@example(raw={"A": "\0"})
def test_invalid_values_raise_only_value_errors(kind: ValueType, raw: Any) -> None:
    try:
        value = kind.parse(raw)
    except ValueError:
        return
    assert kind.parse(kind.format(value)) == value


def test_every_value_type_is_tested_here() -> None:
    choices = {option.value_type for option in OPTIONS.values() if "|" in option.value_type.metavar}
    assert {option.value_type for option in OPTIONS.values()} == set(VALUES) | choices


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (30, 30.0),
        (0.25, 0.25),
        ("30", 30.0),
        ("30s", 30.0),
        ("30 s", 30.0),
        (" 30S ", 30.0),
        ("1600ms", 1.6),
        ("1.5m", 90.0),
        (".5h", 1800.0),
        ("1d", 86400.0),
        ("0", 0.0),
        ("0.0000001s", 0.0),
    ],
)
def test_a_duration_may_have_a_unit(raw: object, seconds: float) -> None:
    assert value_types.DURATION.parse(raw) == seconds


@pytest.mark.parametrize(
    "raw",
    ["", "s", "soon", "-1s", -1, "1w", "1m30s", "1e3", "٣s", True, None, [30], float("inf"), "11y"],
)
def test_an_invalid_duration_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        value_types.DURATION.parse(raw)


@pytest.mark.parametrize("raw", [f"{10 * 365 + 1}d", 10**400, "9" * 400])
def test_a_duration_has_a_maximum(raw: object) -> None:
    with pytest.raises(ValueError, match="at most ten years"):
        value_types.DURATION.parse(raw)


@pytest.mark.parametrize(
    ("seconds", "formatted"),
    [
        (0.0, "0s"),
        (0.0016, "1.6ms"),
        (1.6, "1600ms"),
        (1234.567, "1234567ms"),
        (1.0, "1s"),
        (90.0, "90s"),
        (120.0, "2m"),
        (7200.0, "2h"),
        (86400.0, "1d"),
    ],
)
def test_a_duration_is_formatted_in_its_largest_exact_unit(seconds: float, formatted: str) -> None:
    assert value_types.format_duration(seconds) == formatted


@given(durations(1))
def test_a_formatted_duration_never_has_an_exponent(seconds: float) -> None:
    assert "e" not in value_types.format_duration(seconds)


@pytest.mark.parametrize("raw", [0, "0", "0s", "0.0000001"])
def test_a_duration_above_zero_is_not_zero(raw: object) -> None:
    with pytest.raises(ValueError, match="above zero"):
        value_types.POSITIVE_DURATION.parse(raw)


@pytest.mark.parametrize("raw", ["off", "0", 0, "", 0.0, "0s", "0ms"])
def test_off_and_every_zero_switch_an_optional_duration_off(raw: object) -> None:
    assert value_types.OPTIONAL_DURATION.parse(raw) is None
    assert value_types.OPTIONAL_DURATION.format(None) == "off"


@pytest.mark.parametrize("raw", ["off", "0", 0, "", "0k"])
def test_off_and_every_zero_switch_an_optional_size_off(raw: object) -> None:
    assert value_types.OPTIONAL_SIZE.parse(raw) is None
    assert value_types.OPTIONAL_SIZE.format(None) == "off"


def test_zero_is_not_off_where_it_is_a_valid_number() -> None:
    parse, show = value_types.COUNT_OR_OFF.parse, value_types.COUNT_OR_OFF.format
    assert [parse(raw) for raw in ("off", "", "0", 0, "3")] == [None, None, 0, 0, 3]
    assert [show(value) for value in (None, 0, 3)] == ["off", 0, 3]


@pytest.mark.parametrize(
    "kind", [value_types.OPTIONAL_COUNT, value_types.COUNT_OR_OFF, value_types.OPTIONAL_SIZE]
)
def test_false_does_not_mean_off(kind: ValueType) -> None:
    with pytest.raises(ValueError, match=r"a (whole number|size)"):
        kind.parse(False)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (0, 0),
        ("0", 0),
        (8192, 8192),
        ("64k", 65536),
        ("64 KiB", 65536),
        ("10m", 10 * 1024**2),
        ("10MB", 10 * 1024**2),
        ("1g", 1024**3),
    ],
)
def test_a_size_may_have_a_unit_of_1024(raw: object, size: int) -> None:
    assert value_types.SIZE.parse(raw) == size


@pytest.mark.parametrize(
    "raw", ["", "k", "-1", -1, "1.5k", 1.5, "1t", True, None, 10**15, "9" * 99]
)
def test_an_invalid_size_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        value_types.SIZE.parse(raw)


@pytest.mark.parametrize("raw", ["1m", "16g"])
def test_the_store_has_at_least_a_megabyte_and_at_most_16_gigabytes(raw: str) -> None:
    assert value_types.STORE_SIZE.parse(raw) == value_types.SIZE.parse(raw)


@pytest.mark.parametrize("raw", ["1023k", 0, "17g"])
def test_the_store_is_neither_smaller_nor_larger(raw: object) -> None:
    with pytest.raises(ValueError, match="a size from 1m to 16g"):
        value_types.STORE_SIZE.parse(raw)


@pytest.mark.parametrize(
    ("size", "formatted"),
    [(0, "0"), (1000, "1000"), (1024, "1k"), (2**20, "1m"), (3 * 2**30, "3g")],
)
def test_a_size_is_formatted_in_its_largest_exact_unit(size: int, formatted: str) -> None:
    assert value_types.format_size(size) == formatted


@pytest.mark.parametrize(
    ("raw", "workers"), [("max", 0), (0, 0), ("0", 0), ("-1", -1), (-1, -1), ("+4", 4), (" 4 ", 4)]
)
def test_workers_may_be_max_or_all_but_one(raw: object, workers: int) -> None:
    assert value_types.WORKERS.parse(raw) == workers


@pytest.mark.parametrize("raw", [-2, "-2", 2**31, "1.5", 1.5, "many", True, None, [1]])
def test_an_invalid_number_of_workers_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"a (whole )?number"):
        value_types.WORKERS.parse(raw)


@pytest.mark.parametrize(("raw", "low"), [(0, 1), ("-5", 1), (2**31, 1)])
def test_an_error_names_the_lowest_number(raw: object, low: int) -> None:
    with pytest.raises(ValueError, match=f"a number from {low} up"):
        value_types.AT_LEAST_ONE.parse(raw)


@pytest.mark.parametrize(
    ("raw", "truth"),
    [(True, True), ("true", True), ("Yes", True), ("on", True), ("1", True)]
    + [(False, False), ("false", False), ("NO", False), ("off", False), ("0", False), ("", False)],
)
def test_a_flag_may_be_written_with_several_words(raw: object, truth: bool) -> None:
    assert value_types.FLAG.parse(raw) is truth


@pytest.mark.parametrize("raw", [1, 0, "maybe", None, [True]])
def test_an_invalid_flag_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="true or false"):
        value_types.FLAG.parse(raw)


@pytest.mark.parametrize(
    ("raw", "mask"), [("027", 0o27), ("0o22", 0o22), ("7", 7), ("0777", 0o777), ("", None)]
)
def test_octal_digits_are_parsed(raw: str, mask: int | None) -> None:
    assert value_types.OCTAL.parse(raw) == mask


def test_an_octal_number_without_quotes_is_refused_because_toml_read_it_as_decimal() -> None:
    with pytest.raises(ValueError, match="in quotes"):
        value_types.OCTAL.parse(27)


@pytest.mark.parametrize("raw", ["8", "0x1f", "77777", "rwx", True, None, 2.7])
def test_invalid_octal_digits_are_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="octal digits"):
        value_types.OCTAL.parse(raw)


@pytest.mark.parametrize("raw", ["TERM", "term", "SIGTERM", "sigterm"])
def test_a_signal_may_be_written_with_or_without_sig(raw: str) -> None:
    assert value_types.SIGNAL.parse(raw) == "SIGTERM"
    assert value_types.SIGNAL.format("SIGTERM") == "TERM"


@pytest.mark.parametrize("raw", ["HUP", "KILL", "USR1", "15", 15, "", None])
def test_a_signal_with_another_meaning_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="one of TERM, INT"):
        value_types.SIGNAL.parse(raw)


def test_a_choice_is_one_of_its_words() -> None:
    kind = value_types.choice("red", "green")
    assert kind.parse("red") == kind.parse("RED") == "red"
    for wrong in ("blue", "", None, ["red"], {}):
        with pytest.raises(ValueError, match="one of red, green"):
            kind.parse(wrong)


def test_a_header_value_is_printable_ascii_or_off() -> None:
    assert value_types.FIELD_VALUE.parse("me/1.0 (here)") == "me/1.0 (here)"
    assert value_types.FIELD_VALUE.parse("off") == value_types.FIELD_VALUE.parse("") == ""
    for raw in ("a\r\nb", "a\tb", "é", " a", "a ", 7):
        with pytest.raises(ValueError, match=r"text|ASCII"):
            value_types.FIELD_VALUE.parse(raw)


def test_text_is_one_line() -> None:
    assert value_types.TEXT.parse("a b\tc") == "a b\tc"
    for wrong in ("a\nb", "a\0b"):
        with pytest.raises(ValueError, match="on one line"):
            value_types.TEXT.parse(wrong)
    with pytest.raises(ValueError, match="text"):
        value_types.TEXT.parse(5)


@pytest.mark.parametrize(
    ("raw", "variables"),
    [
        ({"A": "1", "B": ""}, {"A": "1", "B": ""}),
        (
            {"A": 1, "B": 1.5, "C": True, "D": False},
            {"A": "1", "B": "1.5", "C": "true", "D": "false"},
        ),
        (["A=1", "B=x=y"], {"A": "1", "B": "x=y"}),
        (("A=1", "A=2"), {"A": "2"}),
        ("A=1 B='two words'", {"A": "1", "B": "two words"}),
        ({"PEM": "-----BEGIN\nKEY-----\n"}, {"PEM": "-----BEGIN\nKEY-----\n"}),
        ("", {}),
    ],
)
def test_variables_come_as_a_table_a_list_or_shell_words(raw: Any, variables: dict) -> None:
    assert value_types.ENVIRONMENT.parse(raw) == variables


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (["A"], "KEY=VALUE"),
        (["1A=x"], "a variable's name, not '1A'"),
        ({"": "x"}, "a variable's name, not ''"),
        ({"A B": "x"}, "a variable's name, not 'A B'"),
        ({"A": ["x"]}, "text or a number"),
        ({"A": "x\0y"}, "a value for A without a NUL"),
        ("A='x", "quotes are closed"),
        (5, "a list"),
    ],
)
def test_an_invalid_variable_is_refused(raw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value_types.ENVIRONMENT.parse(raw)


def test_a_list_holds_each_value_once_in_the_order_given() -> None:
    assert value_types.PATHS.parse(["b", "a", "b"]) == ("b", "a")
    assert value_types.PATHS.parse("b 'a c'") == ("b", "a c")
    assert value_types.PATHS.format(("b", "a")) == ["b", "a"]
    assert value_types.EXIT_CODES.parse(5) == (5,)
    assert value_types.ADDRESSES.parse(8000) == (parse_address("8000"),)
    with pytest.raises(ValueError, match="a list"):
        value_types.PATHS.parse(5.5)
    with pytest.raises(ValueError, match="text, in quotes"):
        value_types.PATHS.parse(5)


@pytest.mark.parametrize("raw", [[256], [-1], ["x"], [True]])
def test_an_exit_code_fits_into_a_byte(raw: object) -> None:
    assert value_types.EXIT_CODES.parse([0, "255"]) == (0, 255)
    with pytest.raises(ValueError, match=r"exit codes from 0 to 255|whole number"):
        value_types.EXIT_CODES.parse(raw)


@pytest.mark.parametrize("raw", [[], "", " "])
def test_there_is_always_an_address_to_listen_on(raw: object) -> None:
    with pytest.raises(ValueError, match="at least 1: host:port"):
        value_types.ADDRESSES.parse(raw)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8000", TcpAddress("127.0.0.1", 8000)),
        ("0", TcpAddress("127.0.0.1", 0)),
        (":8000", TcpAddress("0.0.0.0", 8000)),
        ("*:8000", TcpAddress("0.0.0.0", 8000)),
        ("localhost:65535", TcpAddress("localhost", 65535)),
        ("my_host.example-1:80", TcpAddress("my_host.example-1", 80)),
        ("bücher.example:80", TcpAddress("bücher.example", 80)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        ("[::1]", TcpAddress("::1", 8000)),
        ("0.0.0.0", TcpAddress("0.0.0.0", 8000)),
        ("localhost", TcpAddress("localhost", 8000)),
        ("app.internal", TcpAddress("app.internal", 8000)),
        ("*", TcpAddress("0.0.0.0", 8000)),
        (":80", TcpAddress("0.0.0.0", 80)),
        ("tcp://0.0.0.0:80", TcpAddress("0.0.0.0", 80)),
        ("[::]:8000", TcpAddress("::", 8000)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:///run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:////run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:app.sock", UnixAddress("app.sock")),
        ("unix:@app", UnixAddress("@app")),
        ("unix://@app", UnixAddress("@app")),
        ("unix:./@app", UnixAddress("./@app")),
        ("unix:/run/@app", UnixAddress("/run/@app")),
        ("unix:/a b,mode=660", UnixAddress("/a b", 0o660)),
        ("unix:/a,mode=007", UnixAddress("/a", 0o007)),
        ("unix:/a,mode=0600,owner=www", UnixAddress("/a", 0o600, "www")),
        ("unix:/a,owner=www:data,mode=600", UnixAddress("/a", 0o600, "www:data")),
        ("unix:/a,owner=:data", UnixAddress("/a", None, ":data")),
        ("fd://3", InheritedSocket(3)),
        ("fd://3,scheme=https", InheritedSocket(3, "https")),
        ("https://443", TcpAddress("127.0.0.1", 443, "https")),
        ("http://*:80", TcpAddress("0.0.0.0", 80, "http")),
        ("https://[::1]:8443", TcpAddress("::1", 8443, "https")),
    ],
)
def test_an_address_is_tcp_unix_or_inherited(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a port"),
        ("host", "a port from 0 to 65535, not 'host'"),
        ("host:", "a port"),
        ("host:65536", "a port"),
        ("host:-1", "a port"),
        ("host:٣", "a port"),
        ("::1:8000", r"\[::1\]:8000"),
        ("[::g]", r"\[v6\]:port"),
        ("::1", r"\[v6\]:port"),
        ("localhots", "a port from 0 to 65535, not 'localhots'"),
        ("[]:80", r"\[v6\]:port"),
        ("[*]:80", r"\[v6\]:port"),
        ("[localhost]:80", r"\[v6\]:port"),
        ("[fe80::1%a\tb]:80", r"\[v6\]:port"),
        ("ftp://host:80", "host:port"),
        ("https://host", "a port"),
        ("https://host:443/", "a port from 0 to 65535, not '443/'"),
        ("https://unix:/run/app.sock", "a port"),
        ("http://http://host:80", "host:port"),
        ("two words:80", "host:port"),
        ("a\0b:80", "host:port"),
        ("unix:", "a path after unix:"),
        ("unix://", "a path after unix:"),
        ("unix:,mode=660", "a path after unix:"),
        ("unix:/a\0b", "a path after unix:"),
        ("unix:@", "a name, as in unix:@app"),
        ("unix:@app,mode=660", "unix:@app is no file, so it has neither mode nor owner"),
        ("unix:@app,owner=www", "neither mode nor owner"),
        ("unix:/a,mode=999", "mode=660 or owner=user:group after the path, not 'mode=999'"),
        ("unix:/a,owner=", "not 'owner='"),
        ("unix:/a,owner=:", "not 'owner=:'"),
        ("unix:/a,owner=a:b:c", "not 'owner=a:b:c'"),
        ("unix:/a,colour=red", "not 'colour=red'"),
        ("fd://", "a file descriptor"),
        ("fd://99999", "a file descriptor from 0 to 65535"),
        ("fd://stdin", "a file descriptor"),
        ("fd://3,", "scheme=http or scheme=https after the number, not ''"),
        ("fd://3,scheme=ftp", "scheme=http or scheme=https"),
        ("fd://3,mode=660", "scheme=http or scheme=https"),
    ],
)
def test_an_invalid_address_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_address(text)


@given(addresses())
def test_a_formatted_address_parses_to_the_same_address(address: object) -> None:
    assert parse_address(str(address)) == address


def test_an_abstract_name_begins_with_nul_for_the_kernel() -> None:
    assert UnixAddress("@app").bind_name == "\0app"
    assert UnixAddress("@app").is_abstract
    assert UnixAddress("./@app").bind_name == "./@app"
    assert not UnixAddress("./@app").is_abstract


@given(st.text() | st.from_regex(r"(unix:|fd://|https://|\[[:0-9a-f]*\]:|\*:).*", fullmatch=True))
def test_a_parsed_address_parses_again_after_formatting(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
