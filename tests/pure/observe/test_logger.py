"""The descriptors of a log: which of them block, and reopening after a rotation."""

import json
import os
import re
from pathlib import Path

import pytest

from prefork.observe.logger import Log, open_line_file, reopen_line_file


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_records_do_not_wait_for_the_reader_of_a_fifo_but_prints_do(fifo: Path) -> None:
    log = Log("info", str(fifo))
    assert log.file is not None
    for _ in range(2):
        assert not os.get_blocking(log.fd)
        assert os.get_blocking(log.file)
        log.reopen()
    for _ in range(200):
        log.logger.info("%s", "x" * 1000)
    assert log.line_writer.has_pending


def test_an_access_log_does_not_wait_for_the_reader_of_a_fifo(fifo: Path) -> None:
    fd = open_line_file(str(fifo))
    assert not os.get_blocking(fd)
    reopen_line_file(str(fifo), fd, Log("info", "").logger)
    assert not os.get_blocking(fd)
    os.close(fd)


def test_both_descriptors_are_reopened_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log("info", str(path))
    assert log.file is not None
    path.rename(tmp_path / "log.1")
    log.reopen()
    log.logger.info("new")
    os.write(log.file, b"printed\n")
    new = path.read_text()
    assert "new" in new
    assert "printed" in new
    assert (tmp_path / "log.1").read_text() == ""


def test_a_log_continues_in_an_adopted_file(tmp_path: Path) -> None:
    log = Log("info", str(tmp_path / "log"))
    given = tmp_path / "given"
    log.adopt(os.open(given, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    log.logger.info("there")
    assert "there" in given.read_text()
    assert (tmp_path / "log").read_text() == ""


def test_a_log_that_cannot_be_reopened_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log("info", str(path))
    path.rename(tmp_path / "log.1")
    path.mkdir()
    log.reopen()
    assert "going on with the old file" in (tmp_path / "log.1").read_text()


def test_a_message_on_stderr_cannot_control_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    Log("info", "").tell_on_stderr("one\n  two \x1b[31m")
    assert capfd.readouterr().err == "prefork: one\n  two \\x1b[31m\n"


KEYS = ["time", "pid", "slot", "stream", "level", "text"]


def test_a_json_log_has_one_object_a_line_with_the_same_keys(tmp_path: Path) -> None:
    log = Log("info", str(tmp_path / "log"), "json")
    log.logger.warning("one\n  two \x1b[31m %s", "caf\udce9")
    try:
        raise ValueError("broken")
    except ValueError:
        log.logger.exception("the app failed")
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert list(first) == list(second) == KEYS
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", first["time"])
    assert (first["pid"], first["level"], first["slot"]) == (os.getpid(), "warning", None)
    assert first["text"] == "one\n  two \\x1b[31m caf\\xe9"
    assert second["text"].startswith("the app failed\nTraceback")
    assert second["text"].endswith("ValueError: broken")


def test_the_format_of_a_log_can_change(tmp_path: Path) -> None:
    log = Log("info", str(tmp_path / "log"))
    log.logger.info("text")
    log.set_format("json")
    log.logger.info("json")
    text, as_json = (tmp_path / "log").read_text().splitlines()
    assert text.endswith(" INFO text")
    assert json.loads(as_json)["text"] == "json"


def test_a_message_on_stderr_is_json_as_well(capfd: pytest.CaptureFixture[str]) -> None:
    Log("info", "", "json").tell_on_stderr("giving up")
    said = json.loads(capfd.readouterr().err)
    assert list(said) == KEYS
    assert (said["level"], said["text"]) == ("error", "giving up")
