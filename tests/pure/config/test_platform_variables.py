"""PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS: weaker than all else but the defaults."""

import pytest

from prefork.config import Layer, Resolved, resolve
from prefork.config.addresses import TcpAddress
from prefork.config.platform_variables import describe_platform_variables, platform_layers
from prefork.errors import UsageError


def resolved(*layers: Layer, needs_address: bool = True, **environ: str) -> Resolved:
    found = platform_layers(environ, resolve(layers), needs_address)
    return resolve([*found, *layers])


def test_each_variable_sets_its_option() -> None:
    after = resolved(PORT="8080", WEB_CONCURRENCY="3", FORWARDED_ALLOW_IPS="10.0.0.1,10.1.0.0/16")
    config = after.config
    assert config.bind == (TcpAddress("0.0.0.0", 8080),)
    assert config.workers == 3
    assert config.forwarded_allow == ("10.0.0.1/32", "10.1.0.0/16")
    assert describe_platform_variables(after) == [
        "PORT in the environment sets bind = 0.0.0.0:8080",
        "WEB_CONCURRENCY in the environment sets workers = 3",
        "FORWARDED_ALLOW_IPS in the environment sets forwarded-allow = 10.0.0.1/32 10.1.0.0/16",
    ]


def test_without_them_nothing_is_set_and_nothing_is_said() -> None:
    assert resolved() == resolve([])
    assert describe_platform_variables(resolved()) == []


@pytest.mark.parametrize("source", ["environment", "command line", "/etc/prefork.toml"])
def test_every_other_source_wins_and_a_wrong_value_is_not_looked_at(source: str) -> None:
    other = Layer(source, {"bind": "8001", "workers": 2, "forwarded_allow": "off"})
    wrong = {"PORT": "x", "WEB_CONCURRENCY": "x", "FORWARDED_ALLOW_IPS": "x"}
    assert resolved(other, **wrong) == resolve([other])


def test_port_sets_no_address_where_none_is_needed() -> None:
    after = resolved(needs_address=False, PORT="8080", WEB_CONCURRENCY="2")
    assert (after.sources["bind"], after.config.workers) == ("default", 2)


def test_an_empty_variable_is_none_but_an_empty_list_of_proxies_is_empty() -> None:
    after = resolved(PORT="", WEB_CONCURRENCY="", FORWARDED_ALLOW_IPS="")
    assert (after.sources["bind"], after.sources["workers"]) == ("default", "default")
    assert after.config.forwarded_allow == ()
    assert describe_platform_variables(after) == [
        "FORWARDED_ALLOW_IPS in the environment sets forwarded-allow = off"
    ]


@pytest.mark.parametrize("text", ["http", "65536", "-1", "8000/tcp", "tcp://10.0.0.1:80", "٨"])
def test_a_port_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"^environment: PORT = .* is wrong: expected a port"):
        resolved(PORT=text)


def test_another_wrong_value_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^WEB_CONCURRENCY: workers = 'many' is wrong"):
        resolved(WEB_CONCURRENCY="many")
