"""Define the types of values that options have: how they are parsed and formatted. PURE.

A value type parses a raw value: a text from the command line or the environment, or a text, number,
boolean, list or table from a TOML file. It formats a value the way that it is written in a TOML
file. A wrong value raises ValueError, whose text says what was expected; sources.py adds the name
of the option and the place.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from prefork.config.access_format import parse_format
from prefork.config.access_skip import EXPECTED as EXPECTED_SKIP
from prefork.config.access_skip import parse_skip_pattern
from prefork.config.addresses import EXPECTED, parse_address
from prefork.config.certificate_options import (
    EXPECTED_CERTIFICATE,
    EXPECTED_PASSWORD,
    parse_certificate,
    parse_password,
)
from prefork.config.cron import EXPECTED as EXPECTED_TIME
from prefork.config.cron import parse as parse_times
from prefork.config.forwarded_trust import EXPECTED as EXPECTED_FACTS
from prefork.config.forwarded_trust import format_header_facts, parse_header_facts
from prefork.config.networks import parse_network
from prefork.config.ready_condition import (
    EXPECTED_READY_CONDITION,
    format_ready_condition,
    parse_ready_condition,
)
from prefork.config.store_kind import EXPECTED_STORE, hide_password, parse_store

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True, slots=True)
class ValueType:
    """How the values of one type are parsed and formatted.

    ``metavar`` stands for the value in --help; it is empty for a flag without a value. ``expected``
    describes the values in messages. ``parse`` raises ValueError, and ``format`` is its inverse.
    ``is_list``: the value is a tuple or a dict, and the flag is repeatable. ``is_path``: a relative
    path in a file starts at the file's folder. ``is_secret``: messages do not repeat a wrong value,
    because it may be a secret. ``hide``: replaces the secrets in a formatted value by ``***``.
    """

    metavar: str
    expected: str
    parse: Callable[[Any], Any]
    format: Callable[[Any], Any] = field(default=lambda value: value)
    is_list: bool = False
    is_path: bool = False
    is_secret: bool = False
    hide: Callable[[Any], Any] = field(default=lambda value: value)

    def format_shown(self, value: Any) -> Any:
        """Return a value as people and logs may see it."""
        return self.hide(self.format(value))


def _parse_text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("text, in quotes")
    if "\0" in raw or "\n" in raw:
        raise ValueError("text on one line")
    return raw


def _parse_flag(raw: object) -> bool:
    """Return a boolean, from a boolean or from words such as ``yes``, ``off`` and ``1``."""
    if isinstance(raw, bool):
        return raw
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False, "": False}
    if isinstance(raw, str) and raw.lower() in words:
        return words[raw.lower()]
    raise ValueError("true or false")


def _parse_integer(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and re.fullmatch("[+-]?[0-9]{1,15}", raw.strip()):
        return int(raw)
    raise ValueError("a whole number")


def _parse_duration(raw: object) -> float:
    """Return seconds, from ``30``, ``30s``, ``1600ms``, ``1.5m``, ``2h`` or ``1d``."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        seconds: float = raw
    else:
        match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|h|d)?", str(raw).strip().lower())
        if match is None or isinstance(raw, bool):
            raise ValueError("a duration such as 30s, 1600ms or 2m")
        seconds = float(match[1]) * _DURATION_UNITS[match[2] or "s"]
    if not 0 <= seconds <= 10 * 365 * 86400:
        raise ValueError("a duration of at most ten years, as in 30s")
    return round(float(seconds), 6)


def format_duration(seconds: float) -> str:
    """Format seconds in the largest unit that is exact: ``1600ms``, ``30s``, ``2m``."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds / _DURATION_UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"


def _parse_size(raw: object) -> int:
    """Return bytes, from ``500``, ``64k``, ``10m`` or ``1g``; the units are powers of 1024."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([kmg]?)(i?b)?", str(raw).strip().lower())
    size = int(match[1]) * _SIZE_UNITS[match[2]] if match else -1
    if isinstance(raw, bool) or not 0 <= size < 10**15:
        raise ValueError("a size such as 64k, 10m or 1g")
    return size


def format_size(size: int) -> str:
    """Format bytes in the largest unit that is exact: ``64k``, ``10m``, ``1g``, ``500``."""
    for unit in ("g", "m", "k"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)


def _parse_octal(raw: object) -> int | None:
    """Return a file mode, from octal digits; an empty text gives None.

    A TOML number is refused, because 27 without quotes is a decimal number.
    """
    if raw == "":
        return None
    if isinstance(raw, int) and not isinstance(raw, bool):
        raise ValueError('octal digits in quotes, as in "027"')
    if isinstance(raw, str) and re.fullmatch("(0o)?[0-7]{1,4}", raw):
        return int(raw, 8)
    raise ValueError("octal digits, as in 027")


def _parse_workers(raw: object) -> int:
    """Return the number of workers; 0, also written ``max``: one per core, -1: one fewer."""
    if raw == "max":
        return 0
    try:
        return _integer_from(-1, _parse_integer)(raw)
    except ValueError as error:
        raise ValueError(f"{error}, or max") from None


_VARIABLE_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def _parse_variable(raw: object) -> str:
    if not isinstance(raw, str) or not _VARIABLE_NAME.fullmatch(raw):
        raise ValueError("a variable's name, such as NODE_APP_INSTANCE")
    return raw


def _parse_environment(raw: object) -> dict[str, str]:
    if isinstance(raw, Mapping):
        pairs = {str(key): _format_scalar(value) for key, value in raw.items()}
    else:
        pairs = {}
        for item in _split_items(raw):
            key, equals, value = str(item).partition("=")
            if not equals:
                raise ValueError("KEY=VALUE")
            pairs[key] = value
    for key, value in pairs.items():
        if not _VARIABLE_NAME.fullmatch(key):
            raise ValueError(f"KEY=VALUE with a variable's name, not {key!r}")
        # A value may have several lines, such as a key in PEM format. A NUL would end it.
        if "\0" in value:
            raise ValueError(f"a value for {key} without a NUL")
    return pairs


def _format_scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("text or a number for each variable")


def _split_items(raw: object) -> list[object]:
    """Return the items of a list, or the words of a text, split as by a shell."""
    if isinstance(raw, list | tuple):
        return list(raw)
    if isinstance(raw, str):
        try:
            return list(shlex.split(raw))
        except ValueError:
            raise ValueError("a list, split as a shell would, whose quotes are closed") from None
    raise ValueError("a list")


def _parse_command(raw: object) -> tuple[str, ...]:
    """Return a program and its arguments, from a list or a text that is split as by a shell."""
    words = tuple(map(_parse_argument, _split_items(raw)))
    if words and not words[0]:
        raise ValueError("a program and its arguments")
    return words


def _parse_argument(raw: object) -> str:
    if not isinstance(raw, str) or "\0" in raw:
        raise ValueError("text for each argument")
    return raw


def _integer_from(lowest: int, parse: Callable[[object], int]) -> Callable[[object], int]:
    """Extend ``parse``: a number below ``lowest`` or above 2**31 - 1 raises ValueError."""

    def bounded(raw: object) -> int:
        value = parse(raw)
        if not lowest <= value <= 2**31 - 1:
            raise ValueError(f"a number from {lowest} up")
        return value

    return bounded


def _parse_exit_code(raw: object) -> int:
    code = _parse_integer(raw)
    if not 0 <= code <= 255:
        raise ValueError("exit codes from 0 to 255")
    return code


def _parse_positive_duration(raw: object) -> float:
    seconds = _parse_duration(raw)
    if seconds <= 0:
        raise ValueError("a duration above zero, such as 30s")
    return seconds


def _parse_positive_size(raw: object) -> int:
    size = _parse_size(raw)
    if size == 0:
        raise ValueError("a size above zero, such as 64k")
    return size


def _parse_store_size(raw: object) -> int:
    size = _parse_size(raw)
    if not 1024**2 <= size <= 16 * 1024**3:
        raise ValueError("a size from 1m to 16g")
    return size


def _or_none(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    """Extend ``parse``: ``off``, ``0`` and the empty text give None."""

    def either(raw: object) -> Any:
        if raw in ("off", "0", 0, "") and not isinstance(raw, bool):
            return None
        return parse(raw) or None

    return either


def _parse_field_value(raw: object) -> str:
    """Return the value of a response header field; ``off``: the empty text."""
    text = _parse_text(raw)
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("printable ASCII, or off")
    return "" if text == "off" else text


def _choice_parser(words: tuple[str, ...], also: Mapping[str, str]) -> Callable[[object], str]:
    def choose(raw: object) -> str:
        word = str(raw).lower()  # In TOML, 1.2 is a number.
        word = also.get(word, word)
        if word not in words:
            raise ValueError("one of " + ", ".join(words))
        return word

    return choose


def _parse_signal(raw: object) -> str:
    """Return the name of a stop signal, with SIG, from a name with or without it."""
    name = str(raw).upper()
    name = name if name.startswith("SIG") else "SIG" + name
    if name not in STOP_SIGNALS:
        raise ValueError("one of " + ", ".join(s.removeprefix("SIG") for s in STOP_SIGNALS))
    return name


STOP_SIGNALS = ("SIGTERM", "SIGINT")
"""The signals that may be the stop signal.

Design: HUP, USR1, USR2, WINCH, TTIN, TTOU, QUIT and ABRT are not among them, because they already
have another meaning for a worker.
"""


def _parse_access_format(raw: object) -> str:
    text = _parse_text(raw)
    parse_format(text)
    return text


def _parse_field_name(raw: object) -> str:
    name = _parse_text(raw)
    if not re.fullmatch("([A-Za-z0-9-]{1,64})?", name):
        raise ValueError("the name of a header field: letters, digits and dashes")
    return name


def _parse_root_path(raw: object) -> str:
    path = _parse_text(raw).rstrip("/")
    if not re.fullmatch(r"(/[^/\s?#%]+)*", path):
        raise ValueError("a path that begins with one slash, such as /shop, without escapes")
    return path


def list_or_off(list_type: ValueType) -> ValueType:
    """Extend a list type: items may be separated by commas; ``off``, ``none`` and "" give ()."""

    def parse(raw: object) -> Any:
        words = [word.strip() for item in _split_items(raw) for word in str(item).split(",")]
        return list_type.parse([] if words in ([], [""], ["off"], ["none"]) else words)

    def format_values(values: tuple[Any, ...]) -> list[Any]:
        return list_type.format(values) or ["off"]

    return replace(list_type, parse=parse, format=format_values, is_list=True)


def comma_separated(list_type: ValueType) -> ValueType:
    """Extend a list type: items may also be separated by commas."""

    def parse(raw: object) -> Any:
        return list_type.parse([part for item in _split_items(raw) for part in _split_at(item)])

    return replace(list_type, parse=parse)


def _split_at(item: object) -> list[object]:
    return [part for part in item.split(",") if part] if isinstance(item, str) else [item]


def list_of(item_type: ValueType, least: int = 0) -> ValueType:
    """Return the type of a list of ``item_type`` with at least ``least`` items, each kept once.

    The flag is repeatable, the text of an environment variable is split at white space, and a
    single number is a list of one item, as in ``bind = 8000``.
    """

    def parse(raw: object) -> tuple[Any, ...]:
        items = [raw] if isinstance(raw, int) else _split_items(raw)
        values = dict.fromkeys(item_type.parse(item) for item in items)
        if len(values) < least:
            raise ValueError(f"at least {least}: {item_type.expected}")
        return tuple(values)

    def format_values(values: tuple[Any, ...]) -> list[Any]:
        return [item_type.format(value) for value in values]

    return ValueType(
        item_type.metavar,
        item_type.expected,
        parse,
        format_values,
        is_list=True,
        is_path=item_type.is_path,
    )


def choice(*words: str, also: Mapping[str, str] = MappingProxyType({})) -> ValueType:
    """Return the type of a value that is one of ``words``.

    ``also``: words that other servers have for some of them.
    """
    return ValueType("|".join(words), "one of " + ", ".join(words), _choice_parser(words, also))


TEXT = ValueType("TEXT", "text", _parse_text)
FIELD_VALUE = ValueType("TEXT", "printable ASCII, or off", _parse_field_value, lambda v: v or "off")
FLAG = ValueType("", "true or false", _parse_flag)
PATH = ValueType("PATH", "a path", _parse_text, is_path=True)
COUNT = ValueType("N", "a whole number from 0 up", _integer_from(0, _parse_integer))
AT_LEAST_ONE = ValueType("N", "a whole number from 1 up", _integer_from(1, _parse_integer))
WORKERS = ValueType("N", "a number, 0 or max for one per core, -1 for all but one", _parse_workers)
DURATION = ValueType("TIME", "a duration such as 30s or 1600ms", _parse_duration, format_duration)
POSITIVE_DURATION = ValueType(
    "TIME", "a duration above zero such as 30s", _parse_positive_duration, format_duration
)
OPTIONAL_COUNT = ValueType(
    "N", "a whole number, or off", _or_none(_integer_from(1, _parse_integer)), lambda v: v or "off"
)
COUNT_OR_OFF = ValueType(
    "N",
    "a whole number from 0 up, or off",
    lambda raw: None if raw in ("off", "") else _integer_from(0, _parse_integer)(raw),
    lambda v: "off" if v is None else v,
)
"""Unlike in OPTIONAL_COUNT, 0 is a number and does not mean off."""
OPTIONAL_DURATION = ValueType(
    "TIME",
    "a duration such as 30s, or off",
    _or_none(_parse_duration),
    lambda v: format_duration(v) if v else "off",
)
SIZE = ValueType("SIZE", "a size such as 64k or 10m", _parse_size, format_size)
POSITIVE_SIZE = ValueType(
    "SIZE", "a size above zero such as 64k", _parse_positive_size, format_size
)
OPTIONAL_SIZE = ValueType(
    "SIZE",
    "a size such as 64k or 10m, or off",
    _or_none(_parse_size),
    lambda v: format_size(v) if v else "off",
)
OCTAL = ValueType(
    "OCTAL", "octal digits, as in 027", _parse_octal, lambda v: f"{v:03o}" if v is not None else ""
)
SIGNAL = ValueType("SIGNAL", "TERM or INT", _parse_signal, lambda v: v.removeprefix("SIG"))
ENVIRONMENT = ValueType(
    "KEY=VALUE", "KEY=VALUE", _parse_environment, dict, is_list=True, is_secret=True
)
VARIABLE = ValueType("NAME", "a variable's name", _parse_variable)
ADDRESSES = list_of(
    ValueType("ADDRESS", EXPECTED, lambda raw: parse_address(str(raw)), str, is_path=True), least=1
)
OPTIONAL_ADDRESS = ValueType(
    "ADDRESS",
    f"{EXPECTED}, or off",
    lambda raw: None if raw in ("", "off") else parse_address(str(raw)),
    lambda address: str(address or "off"),
    is_path=True,
)
PATHS = list_of(PATH)
SEARCH_PATHS = comma_separated(PATHS)
PATTERNS = list_of(ValueType("PATTERN", "a pattern such as *.csv", _parse_text))
CRON = ValueType(
    "TIMES", EXPECTED_TIME, parse_times, lambda times: list(times) or ["off"], is_list=True
)
CERTIFICATES = list_of(
    ValueType(
        "CERT[,key=KEY]",
        EXPECTED_CERTIFICATE,
        lambda raw: parse_certificate(_parse_text(raw)),
        str,
        is_path=True,
    )
)
PASSWORD = ValueType(
    "file:PATH|env:NAME",
    EXPECTED_PASSWORD,
    lambda raw: parse_password(_parse_text(raw)),
    lambda source: str(source or ""),
    is_path=True,
    is_secret=True,
)
NETWORKS = list_of(
    ValueType(
        "CIDR", "a network such as 10.0.0.0/8", lambda raw: parse_network(_parse_text(raw)), str
    )
)
NETWORKS_OR_OFF = list_or_off(NETWORKS)
FORWARDED = list_or_off(
    ValueType(
        "FACT",
        EXPECTED_FACTS,
        lambda words: parse_header_facts(map(str.lower, words)),
        format_header_facts,
    )
)
ACCESS_FORMAT = ValueType("FORMAT", "a format", _parse_access_format)
SKIP_PATTERNS = list_of(
    ValueType("PATTERN", EXPECTED_SKIP, lambda raw: parse_skip_pattern(_parse_text(raw)), str)
)
STORE = ValueType("STORE", EXPECTED_STORE, parse_store, is_secret=True, hide=hide_password)
STORE_SIZE = ValueType("SIZE", "a size from 1m to 16g", _parse_store_size, format_size)
FIELD_NAME = ValueType("NAME", "the name of a header field", _parse_field_name)
ROOT_PATH = ValueType("PATH", "a path such as /shop", _parse_root_path)
COMMAND = ValueType("COMMAND", "a program and its arguments", _parse_command, list)
READY_CONDITION = ValueType(
    "WHEN",
    EXPECTED_READY_CONDITION,
    lambda raw: parse_ready_condition(raw, _parse_positive_duration),
    lambda condition: format_ready_condition(condition, format_duration),
)
EXIT_CODES = list_of(ValueType("CODE", "an exit code from 0 to 255", _parse_exit_code))
