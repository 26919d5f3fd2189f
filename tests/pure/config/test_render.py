"""Options as text. The printed settings can be saved and used as a file."""

import re
import tomllib
from dataclasses import fields, replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given

from prefork.config import OPTIONS, Config, Resolved, resolve
from prefork.config.addresses import TcpAddress
from prefork.config.render import format_settings, sample_file
from prefork.config.settings_diff import list_restart_changes
from prefork.config.sources import file_layer
from prefork.config.store_kind import hide_password
from tests.pure.config.values import configs, values

DEFAULTS = dict.fromkeys(OPTIONS, "default")


def reread(text: str) -> Config:
    return resolve([file_layer(tomllib.loads(text), "prefork.toml", "")]).config


@given(configs())
@example(Config(name="\x7f\x01\b\\x41 \\u \"'\t# = é 😀"))
@example(Config(name="\\", env={"A": 'say "hi"\n\r\n\\'}))
@example(Config(max_lifetime=1234.567, timeout=None, limit_body=None, umask=0o27))
def test_printed_settings_read_back_as_the_same_settings(config: Config) -> None:
    # A setting that has a secret is a comment.
    kept = config.store if hide_password(config.store) == config.store else Config().store
    printed = format_settings(Resolved(config, DEFAULTS))
    assert reread(printed) == replace(config, env={}, store=kept)


def test_printed_settings_name_variables_but_mask_their_values() -> None:
    printed = format_settings(Resolved(Config(env={"KEY": "hunter2", "B": "x"}), DEFAULTS))
    assert '# env = { KEY = "***", B = "***" }  # default' in printed.splitlines()
    assert "hunter2" not in printed


def test_printed_settings_have_no_password_of_a_server() -> None:
    printed = format_settings(Resolved(Config(store="redis://me:hunter2@host/1"), DEFAULTS))
    assert '# store = "redis://***@host/1"  # default' in printed.splitlines()
    assert "hunter2" not in printed


def test_printed_settings_are_a_line_each_with_its_source() -> None:
    resolved = resolve([file_layer({"workers": 3}, "/etc/prefork.toml", "/etc")])
    lines = format_settings(resolved).splitlines()
    assert [line.partition(" = ")[0] for line in lines] == [o.key for o in OPTIONS.values()]
    assert "workers = 3  # /etc/prefork.toml" in lines
    assert 'kill-timeout = "30s"  # default' in lines
    assert 'bind = ["127.0.0.1:8000"]  # default' in lines
    assert "env = {}  # default" in lines
    assert "daemon = false  # default" in lines


def test_bytes_that_are_no_utf8_are_printed_as_escapes() -> None:
    printed = format_settings(Resolved(Config(name="caf\udce9"), DEFAULTS))
    assert tomllib.loads(printed.encode().decode())["name"] == "caf\\udce9"


def uncommented(text: str) -> str:
    return re.sub(r"^# ([a-z-]+ = )", r"\1", text, flags=re.MULTILINE)


def test_the_unchanged_sample_file_sets_no_option() -> None:
    assert tomllib.loads(sample_file()) == {}


def test_the_uncommented_sample_file_sets_all_defaults() -> None:
    table = tomllib.loads(uncommented(sample_file()))
    assert set(table) == {option.key for option in OPTIONS.values()}
    assert table["app"] == "myapp:main"
    assert table["env"] == {"DATABASE_URL": "postgres://localhost/app"}
    config = resolve([file_layer(table, "prefork.toml", "")]).config
    assert replace(config, app="", command=(), env={}) == Config()


def test_the_sample_file_explains_each_option_before_it() -> None:
    flat = re.sub(r"\n# ", " ", sample_file())
    for option in OPTIONS.values():
        assert f"{option.text} {option.key} = " in flat


def test_no_line_of_the_sample_file_is_too_long() -> None:
    assert max(map(len, sample_file().splitlines())) <= 100


@given(st.data())
def test_an_option_that_needs_a_restart_is_listed(data: Any) -> None:
    option = data.draw(st.sampled_from(list(OPTIONS.values())))
    changed = replace(Config(), **{option.name: data.draw(values(option))})
    differs = changed != Config()
    expected = [option.key] if option.restart and differs else []
    assert list_restart_changes(Config(), changed) == expected


def test_all_options_that_need_a_restart_are_listed() -> None:
    new = Config(umask=0o27, daemon=True, workers=9, bind=(TcpAddress("::1", 1),))
    assert list_restart_changes(Config(), new) == ["umask", "daemon"]


def test_every_field_of_config_is_a_declared_option() -> None:
    assert [field.name for field in fields(Config)] == list(OPTIONS)
