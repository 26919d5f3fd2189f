"""``prefork signal``: a signal by name or number, to all workers or to one slot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import wait_for
from tests.live.home import Home, temporary_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def pids(home: Home) -> list[int]:
    return [worker["pid"] for worker in home.app()["workers"]]


def test_only_the_given_slot_gets_the_signal(home: Home) -> None:
    home.start("web", "-w", "2")
    first, second = pids(home)
    assert home.run_ok("signal", "web", "kill", "--slot", "1") == f"web: SIGKILL sent to {second}\n"
    wait_for(lambda: home.app()["ready"] == 2 and second not in pids(home), "it was replaced")
    assert pids(home)[0] == first


@pytest.mark.parametrize("word", ["USR2", "SIGUSR2", "12"])
def test_programs_get_the_signal(home: Home, word: str) -> None:
    home.write(
        "heard.sh",
        "trap 'echo heard >> heard' USR2\ntouch up$$\nwhile :; do sleep 0.05; done\n",
    )
    home.run_ok("start", "-w", "2", "--name", "web", "--ready", "10ms", "--", "sh", "heard.sh")
    wait_for(lambda: len(list(home.folder.glob("up*"))) == 2, "both have their handler")
    output = home.run_ok("signal", "web", word)
    assert output == "web: SIGUSR2 sent to {}, {}\n".format(*pids(home))

    def heard() -> bool:
        path = home.folder / "heard"
        return path.exists() and path.read_text() == "heard\n" * 2

    wait_for(heard, "both heard it, once")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["web", "TERN"], "no signal is called 'TERN'; did you mean TERM?"),
        (["web", "sigusr3"], "did you mean USR"),
        (["web", "%"], "`kill -l` lists them"),
        (["web", "65"], "there is no signal 65; they are 1 to 64"),
        (["web", "0"], "there is no signal 0"),
        (["wev", "TERM"], "did you mean web?"),
        (["web", "TERM", "--slot", "7"], "no worker is in slot 7; there are 0"),
    ],
)
def test_wrong_arguments_send_no_signal(home: Home, arguments: list[str], expected: str) -> None:
    home.start()
    before = pids(home)
    assert expected in home.run_failing(100, "signal", *arguments)
    assert pids(home) == before
