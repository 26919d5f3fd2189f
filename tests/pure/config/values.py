"""Hypothesis strategies: valid values of every option, whole configs, and invalid values."""

import ipaddress
from typing import Any

import hypothesis.strategies as st

from prefork.config import OPTIONS, Config, value_types
from prefork.config.access_format import PRESETS
from prefork.config.access_skip import parse_skip_pattern
from prefork.config.addresses import SCHEMES, Address, InheritedSocket, TcpAddress, UnixAddress
from prefork.config.certificate_options import CertificateFiles, PasswordSource
from prefork.config.forwarded_trust import HEADER_FACTS, parse_header_facts
from prefork.config.options import Option
from prefork.config.ready_condition import MODES, ReadyCondition
from prefork.config.value_types import ValueType

TEN_YEARS = 10 * 365 * 86400
_SCHEME = st.sampled_from(("", *SCHEMES))


def texts(without: str = "") -> st.SearchStrategy[str]:
    """Return texts that can be encoded in UTF-8."""
    return st.text(st.characters(codec="utf-8", exclude_characters=without))


def durations(least: int = 0) -> st.SearchStrategy[float]:
    """Return durations in seconds, to the microsecond."""
    return st.integers(least, TEN_YEARS * 1_000_000).map(lambda us: round(us / 1_000_000, 6))


def addresses() -> st.SearchStrategy[Address]:
    hosts = st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True)
    paths = texts(without=",\0\n").filter(lambda path: path and not path.startswith("//"))
    owners = st.from_regex(r"|[a-z_-]{1,9}|[a-z0-9]{0,9}:[a-z0-9]{1,9}", fullmatch=True)
    return st.one_of(
        st.builds(
            TcpAddress, hosts | st.ip_addresses(v=6).map(str), st.integers(0, 65535), _SCHEME
        ),
        st.builds(
            UnixAddress,
            paths.filter(lambda path: not path.startswith("@")),
            st.none() | st.integers(0, 0o777),
            owners,
        ),
        st.builds(UnixAddress, paths.map(lambda name: f"@{name}")),
        st.builds(InheritedSocket, st.integers(0, 65535), _SCHEME),
    )


def certificates() -> st.SearchStrategy[CertificateFiles]:
    path = texts(without=",\0\n")
    return st.builds(CertificateFiles, path.filter(bool), path)


def passwords() -> st.SearchStrategy[PasswordSource | None]:
    return st.one_of(
        st.none(),
        st.builds(PasswordSource, path=texts(without="\0\n").filter(bool)),
        st.builds(PasswordSource, variable=_VARIABLE),
    )


def networks() -> st.SearchStrategy[str]:
    def of(version: int, bits: int) -> st.SearchStrategy[str]:
        return st.tuples(st.ip_addresses(v=version), st.integers(0, bits)).map(
            lambda pair: str(ipaddress.ip_network(pair, strict=False))
        )

    return st.one_of(of(4, 32), of(6, 128), st.sampled_from(("unix", "*")))


def _some(values: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=least, max_size=4, unique=True).map(tuple)


_LINE = texts(without="\0\n")
_COUNT = st.integers(0, 2**31 - 1)
_POSITIVE = st.integers(1, 2**31 - 1)
_SIZE = st.integers(0, 10**15 - 1)
_VARIABLE = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def readiness() -> st.SearchStrategy[ReadyCondition]:
    own = addresses().filter(lambda address: not isinstance(address, InheritedSocket))
    return st.one_of(
        st.builds(ReadyCondition, st.sampled_from(MODES)),
        st.builds(ReadyCondition, st.just("after"), durations(1)),
        st.builds(ReadyCondition, st.just("connect"), address=own),
    )


VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    value_types.TEXT: _LINE,
    value_types.COMMAND: st.just(())
    | st.lists(texts(without="\0"), min_size=1).map(tuple).filter(lambda words: words[0]),
    value_types.READY_CONDITION: readiness(),
    value_types.FIELD_VALUE: st.text(_VISIBLE + " ")
    .map(str.strip)
    .filter(lambda text: text != "off"),
    value_types.FLAG: st.booleans(),
    value_types.PATH: _LINE,
    value_types.COUNT: _COUNT,
    value_types.AT_LEAST_ONE: _POSITIVE,
    value_types.WORKERS: st.integers(-1, 2**31 - 1),
    value_types.DURATION: durations(),
    value_types.POSITIVE_DURATION: durations(1),
    value_types.OPTIONAL_COUNT: st.none() | _POSITIVE,
    value_types.COUNT_OR_OFF: st.none() | _COUNT,
    value_types.OPTIONAL_DURATION: st.none() | durations(1),
    value_types.SIZE: _SIZE,
    value_types.POSITIVE_SIZE: _SIZE.filter(bool),
    value_types.STORE: st.sampled_from(
        ["embedded", "memory", "off", "/var/lib/web", "redis://:word@host:6379/1", "valkey://[::1]"]
    ),
    value_types.STORE_SIZE: st.integers(1024**2, 16 * 1024**3),
    value_types.OPTIONAL_SIZE: st.none() | _SIZE.filter(bool),
    value_types.OCTAL: st.none() | st.integers(0, 0o7777),
    value_types.SIGNAL: st.sampled_from(value_types.STOP_SIGNALS),
    value_types.ENVIRONMENT: st.dictionaries(_VARIABLE, texts(without="\0"), max_size=4),
    value_types.VARIABLE: _VARIABLE,
    value_types.ADDRESSES: _some(addresses(), least=1),
    value_types.OPTIONAL_ADDRESS: st.none() | addresses(),
    value_types.PATHS: _some(_LINE),
    value_types.SEARCH_PATHS: _some(texts(without=",\0\n").filter(bool)),
    value_types.PATTERNS: _some(_LINE),
    value_types.CRON: _some(
        st.sampled_from(["0 4 * * *", "*/5 * * * * *", "@daily", "0 4 LW * MON"])
    ),
    value_types.EXIT_CODES: _some(st.integers(0, 255)),
    value_types.CERTIFICATES: _some(certificates()),
    value_types.PASSWORD: passwords(),
    value_types.NETWORKS: _some(networks()),
    value_types.NETWORKS_OR_OFF: _some(networks()),
    value_types.FORWARDED: st.sets(st.sampled_from(HEADER_FACTS)).map(parse_header_facts),
    value_types.ACCESS_FORMAT: st.sampled_from(
        [*PRESETS, "%(h)s", "%% %({X-A}i)s", '{"a": %(s)s}']
    ),
    value_types.SKIP_PATTERNS: _some(
        st.sampled_from(["/healthz", "2xx", "kube-probe", "/a,404,agent:/b"]).map(
            parse_skip_pattern
        )
    ),
    value_types.FIELD_NAME: st.from_regex("([A-Za-z0-9-]{1,64})?", fullmatch=True),
    value_types.ROOT_PATH: st.sampled_from(["", "/shop", "/a/b", "/caf\u00e9"]),
}


def values(option: Option) -> st.SearchStrategy[Any]:
    """Return valid values of ``option``; a type without a strategy is a choice of words."""
    words = option.value_type.metavar.split("|")
    return VALUES[option.value_type] if option.value_type in VALUES else st.sampled_from(words)


def configs() -> st.SearchStrategy[Config]:
    """Return valid settings."""
    return st.builds(Config, **{name: values(option) for name, option in OPTIONS.items()})


def junk() -> st.SearchStrategy[Any]:
    """Return values that a TOML file, an environment or a caller in Python may contain."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**400, -(10**400), 2**31, 65536]),
        st.floats(),
        st.text(),
        st.text("0123456789.-+ ,:=[]'\"\\/@%*kmgshdibunxfo", max_size=12),
        st.datetimes(),
        st.dates(),
        st.times(),
        st.binary(max_size=5),
    )
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
