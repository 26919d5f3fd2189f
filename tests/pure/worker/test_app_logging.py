"""--log-config: the formats, and errors that name the file."""

import json
import logging
import sys
from pathlib import Path

import pytest

from prefork.errors import UsageError
from prefork.worker.app_logging import read_logging_config

TOML = """\
version = 1
[formatters.brief]
format = "%(levelname)s:%(message)s"
[handlers.file]
class = "logging.FileHandler"
filename = "PATH"
formatter = "brief"
[loggers.shop]
level = "INFO"
handlers = ["file"]
"""
AS_DICT = {
    "version": 1,
    "formatters": {"brief": {"format": "%(levelname)s:%(message)s"}},
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": "PATH", "formatter": "brief"}
    },
    "loggers": {"shop": {"level": "INFO", "handlers": ["file"]}},
}
YAML = """\
version: 1
formatters: {brief: {format: "%(levelname)s:%(message)s"}}
handlers: {file: {class: logging.FileHandler, filename: PATH, formatter: brief}}
loggers: {shop: {level: INFO, handlers: [file]}}
"""
INI = """\
[loggers]
keys=root,shop
[handlers]
keys=file
[formatters]
keys=brief
[formatter_brief]
format=%(levelname)s:%(message)s
[handler_file]
class=FileHandler
args=("PATH",)
formatter=brief
[logger_root]
handlers=
[logger_shop]
level=INFO
handlers=file
qualname=shop
"""
FILES = {"x.toml": TOML, "x.json": json.dumps(AS_DICT), "x.YAML": YAML, "x.yml": YAML, "x.ini": INI}


@pytest.mark.parametrize("name", FILES)
def test_each_format_configures_the_apps_logging(tmp_path: Path, name: str) -> None:
    log, config = tmp_path / "shop.log", tmp_path / name
    config.write_text(FILES[name].replace("PATH", str(log)))
    other = logging.getLogger("prefork.tests.other")
    shop = logging.getLogger("shop")
    try:
        read_logging_config(str(config)).apply()
        shop.info("sold")
        assert not other.disabled, "a logger that the file does not name is disabled"
    finally:
        for handler in list(shop.handlers):
            shop.removeHandler(handler)
            handler.close()
    assert log.read_text() == "INFO:sold\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.toml", "version = ", "cannot be parsed: TOMLDecodeError"),
        ("x.json", "{", "cannot be parsed: JSONDecodeError"),
        ("x.yaml", "a: [", "cannot be parsed: ParserError"),
        ("x.ini", "x", "cannot be parsed: MissingSectionHeaderError"),
        ("x.json", "[1]", "a dictionary for logging.config.dictConfig is expected"),
        ("x.toml", "a = 1", "which has version = 1 at its top"),
        ("x.py", "", r"its name has to end with .toml, .json"),
        ("x.toml", None, "cannot read .*x.toml: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_logging_config(str(path))
    assert str(path) in str(caught.value)


def test_a_configuration_that_does_not_work_is_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(TOML.replace("PATH", "/nonexistent/log"))
    with pytest.raises(UsageError, match=r"x.toml: .*'file', because of FileNotFoundError"):
        read_logging_config(str(path)).apply()


def test_yaml_without_pyyaml_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.yaml").write_text(YAML)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r"needs PyYAML: pip install 'prefork\[yaml\]'"):
        read_logging_config(str(tmp_path / "x.yaml"))
