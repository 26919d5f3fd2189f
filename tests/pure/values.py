"""Hypothesis strategies: right values of every kind of option, whole configs, and junk."""

import ipaddress
from typing import Any

import hypothesis.strategies as st

from prefork.config import OPTIONS, Config, kinds
from prefork.config.access_format import PRESETS
from prefork.config.addresses import SCHEMES, Address, Inherited, Tcp, Unix
from prefork.config.certificates import CertificateFiles, PasswordSource
from prefork.config.forwarded import PARTS, parse_parts
from prefork.config.kinds import Kind
from prefork.config.options import Option
from prefork.config.readiness import WORDS, Readiness

TEN_YEARS = 10 * 365 * 86400
_SCHEME = st.sampled_from(("", *SCHEMES))


def texts(without: str = "") -> st.SearchStrategy[str]:
    """Any text that UTF-8 can hold."""
    return st.text(st.characters(codec="utf-8", exclude_characters=without))


def durations(least: int = 0) -> st.SearchStrategy[float]:
    """To the microsecond."""
    return st.integers(least, TEN_YEARS * 1_000_000).map(lambda us: round(us / 1_000_000, 6))


def addresses() -> st.SearchStrategy[Address]:
    hosts = st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True)
    paths = texts(without=",\0\n").filter(lambda path: path and not path.startswith("//"))
    owners = st.from_regex(r"|[a-z_-]{1,9}|[a-z0-9]{0,9}:[a-z0-9]{1,9}", fullmatch=True)
    return st.one_of(
        st.builds(Tcp, hosts | st.ip_addresses(v=6).map(str), st.integers(0, 65535), _SCHEME),
        st.builds(
            Unix,
            paths.filter(lambda path: not path.startswith("@")),
            st.none() | st.integers(0, 0o777),
            owners,
        ),
        st.builds(Unix, paths.map(lambda name: f"@{name}")),
        st.builds(Inherited, st.integers(0, 65535), _SCHEME),
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


def readiness() -> st.SearchStrategy[Readiness]:
    own = addresses().filter(lambda address: not isinstance(address, Inherited))
    return st.one_of(
        st.builds(Readiness, st.sampled_from(WORDS)),
        st.builds(Readiness, st.just("after"), durations(1)),
        st.builds(Readiness, st.just("connect"), address=own),
    )


VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    kinds.TEXT: _LINE,
    kinds.COMMAND: st.just(())
    | st.lists(texts(without="\0"), min_size=1).map(tuple).filter(lambda words: words[0]),
    kinds.READINESS: readiness(),
    kinds.FIELD_VALUE: st.text(_VISIBLE + " ").map(str.strip).filter(lambda text: text != "off"),
    kinds.FLAG: st.booleans(),
    kinds.PATH: _LINE,
    kinds.COUNT: _COUNT,
    kinds.AT_LEAST_ONE: _POSITIVE,
    kinds.WORKERS: st.integers(-1, 2**31 - 1),
    kinds.DURATION: durations(),
    kinds.POSITIVE_DURATION: durations(1),
    kinds.OPTIONAL_COUNT: st.none() | _POSITIVE,
    kinds.COUNT_OR_OFF: st.none() | _COUNT,
    kinds.OPTIONAL_DURATION: st.none() | durations(1),
    kinds.SIZE: _SIZE,
    kinds.OPTIONAL_SIZE: st.none() | _SIZE.filter(bool),
    kinds.OCTAL: st.none() | st.integers(0, 0o7777),
    kinds.SIGNAL: st.sampled_from(kinds.STOP_SIGNALS),
    kinds.ENVIRONMENT: st.dictionaries(_VARIABLE, texts(without="\0"), max_size=4),
    kinds.ADDRESSES: _some(addresses(), least=1),
    kinds.OPTIONAL_ADDRESS: st.none() | addresses(),
    kinds.PATHS: _some(_LINE),
    kinds.PATTERNS: _some(_LINE),
    kinds.CRON: _some(st.sampled_from(["0 4 * * *", "*/5 * * * * *", "@daily", "0 4 LW * MON"])),
    kinds.EXIT_CODES: _some(st.integers(0, 255)),
    kinds.CERTIFICATES: _some(certificates()),
    kinds.PASSWORD: passwords(),
    kinds.NETWORKS: _some(networks()),
    kinds.NETWORKS_OR_OFF: _some(networks()),
    kinds.FORWARDED: st.sets(st.sampled_from(PARTS)).map(parse_parts),
    kinds.ACCESS_FORMAT: st.sampled_from([*PRESETS, "%(h)s", "%% %({X-A}i)s", '{"a": %(s)s}']),
    kinds.FIELD_NAME: st.from_regex("([A-Za-z0-9-]{1,64})?", fullmatch=True),
    kinds.ROOT_PATH: st.sampled_from(["", "/shop", "/a/b", "/caf\u00e9"]),
}


def values(option: Option) -> st.SearchStrategy[Any]:
    """Right values for ``option``; a kind without a strategy is a choice of words."""
    words = option.kind.metavar.split("|")
    return VALUES[option.kind] if option.kind in VALUES else st.sampled_from(words)


def configs() -> st.SearchStrategy[Config]:
    """Any settings."""
    return st.builds(Config, **{name: values(option) for name, option in OPTIONS.items()})


def junk() -> st.SearchStrategy[Any]:
    """Whatever a TOML file, an environment or a caller in Python may hold."""
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
