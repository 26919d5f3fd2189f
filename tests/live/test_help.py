"""``prefork help`` on a terminal: its pager, its colours, and what it does without either."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.home import Home, temporary_home
from tests.live.terminal import on_terminal, terminal_output


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        yield home


def test_a_terminal_gets_the_pager(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "sed 's/^/paged: /'")
    shown = terminal_output(home, "help", "settings").decode()
    assert "paged: \x1b[1;4mSettings" in shown
    assert "PREFORK_KILL_TIMEOUT" in shown


@pytest.mark.parametrize("pager", ["", "cat", "/no/such/pager", "'"])
def test_without_a_pager_the_text_is_written(
    home: Home, monkeypatch: pytest.MonkeyPatch, pager: str
) -> None:
    monkeypatch.setenv("PAGER", pager)
    shown = terminal_output(home, "help", "--kill-timeout").decode()
    assert "\x1b[1;36m--kill-timeout TIME" in shown
    assert "PREFORK_KILL_TIMEOUT" in shown


def test_colours_are_left_out_on_request(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "")
    monkeypatch.setenv("NO_COLOR", "1")
    assert b"\x1b[36m" not in terminal_output(home, "help", "balancing")


def test_ctrl_c_is_for_the_pager(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pager sees the signal and goes on; the command waits for its end."""
    script = "trap 'echo interrupted' INT; echo paging; read line </dev/tty; echo ended; cat"
    monkeypatch.setenv("PAGER", f'sh -c "{script}"')
    with on_terminal(home, "help", "balancing") as terminal:
        terminal.wait_for_output("paging")
        terminal.press("\x03")
        terminal.wait_for_output("interrupted")
        assert terminal.process.poll() is None
        terminal.press("\n")
        assert terminal.wait_exit() == 0


def test_an_encoding_without_a_character_is_no_error(home: Home) -> None:
    done = home.run("help", "logging", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xb5s" in done.stdout  # the sign of microseconds
