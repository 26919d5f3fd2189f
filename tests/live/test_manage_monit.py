"""``prefork monit`` on a terminal of its own: the screen, and the effect of its keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import wait_for
from tests.live.home import Home, temporary_home
from tests.live.terminal import on_terminal


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def test_keys_act_on_the_selected_app(home: Home) -> None:
    home.start("one")
    home.start("two")
    with on_terminal(home, "monit") as terminal:
        terminal.wait_for_output(r"one +running +1/1")
        terminal.press("j")
        terminal.press("+")
        terminal.wait_for_output(r"two: scale done")
        wait_for(lambda: home.app("two")["target"] == 2, "two was scaled")
        terminal.wait_for_output(r"two +running +2/2")
        terminal.press("r")
        terminal.wait_for_output(r"two: reload done")
        assert home.app("two")["generation"] == 2
        terminal.press("s")
        terminal.wait_for_output(r"stop two\? y: yes")
        terminal.press("n")
        terminal.press("s")
        terminal.wait_for_output(r"stop two\? y: yes")
        terminal.press("y")
        terminal.wait_for_output(r"two +stopped")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert home.app("one")["target"] == 1


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (80, 24), (200, 60)])
def test_monit_works_on_terminals_of_any_size(home: Home, columns: int, lines: int) -> None:
    home.start()
    with on_terminal(home, "monit", columns=columns, lines=lines) as terminal:
        terminal.wait_for_output("web")
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_monit_without_a_terminal_is_refused(home: Home) -> None:
    assert "monit needs a terminal" in home.run_failing(100, "monit")
