"""The output of programs with a log writer: both streams are in the output file of the app."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import wait_for
from tests.live.home import Home, temporary_home
from tests.live.output_files import output_texts, wait_log_writer, wait_output


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def start(home: Home, script: str, *options: str) -> Path:
    """Start an app that runs this script; return its folder in the registry."""
    home.write("job.sh", script)
    words = ("--name", "web", "--ready", "10ms", "--kill-timeout", "5s", *options)
    home.run_ok("start", *words, "--", "sh", "job.sh")
    return home.home / "web"


def test_both_streams_are_in_the_file_and_not_in_the_log(home: Home) -> None:
    folder = start(home, "echo one; echo two >&2; sleep 1000\n", "-w", "2")
    wait_for(lambda: len(output_texts(folder)) == 4, "all lines")
    assert sorted(output_texts(folder)) == ["0 err two", "0 out one", "1 err two", "1 out one"]
    assert home.run_ok("logs", "web", "--err", "--slot", "1").endswith("1 err two\n")
    assert "two" not in (folder / "log").read_text()


def test_the_last_lines_are_still_the_reason_of_a_failed_start(home: Home) -> None:
    folder = start(home, "sleep 1000\n", "--ready", "2s")  # longer than the failing start takes
    home.write("job.sh", "for n in 1 2 3; do echo oh no $n >&2; done; exit 3\n")
    said = home.run_failing(102, "reload", "web", "--timeout", "20")
    assert "(exit code 3); its last output:\n  oh no 1\n  oh no 2\n  oh no 3" in said
    wait_output(folder, "0 err oh no 3")
    assert output_texts(folder) == ["0 err oh no 1", "0 err oh no 2", "0 err oh no 3"]


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_output_waits_while_the_log_writer_is_stopped(home: Home, end: int) -> None:
    """It is more than both pipes hold; the master neither drops it nor is kept busy by it."""
    count, text = 60_000, "x" * 60
    home.write(
        "many.py",
        "import os, sys, time\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        f"for n in range({count}): sys.stderr.write(f'{{n}} {text}\\n')\n"
        "open('done', 'w').close()\n"
        "time.sleep(1000)\n",
    )
    folder = start(home, "exec python3 many.py\n")
    writer = wait_log_writer(home)
    writer.suspend()
    (home.folder / "go").touch()
    (worker,) = [each["pid"] for each in home.app()["workers"]]

    def is_stuck() -> bool:
        return "pipe_write" in Path(f"/proc/{worker}/wchan").read_text()

    if Path(f"/proc/{worker}/wchan").read_text() != "0":
        wait_for(is_stuck, "the program waits for the writer")
        assert not (home.folder / "done").exists()
    assert "answers" in home.run_ok("ping", "web")
    writer.send_signal(end)
    wait_for((home.folder / "done").exists, "it could write all")
    wait_output(folder, f"0 err {count - 1} ")
    assert output_texts(folder) == [f"0 err {n} {text}" for n in range(count)]


def test_the_last_output_after_the_death_of_the_master_is_written(home: Home) -> None:
    folder = start(home, "trap 'echo good bye >&2; exit 0' TERM\nwhile :; do sleep 0.05; done\n")
    pid = home.app()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_output(folder, "0 err good bye")


def test_a_program_of_another_user_may_open_dev_stderr(home: Home) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    home.run_ok(
        "start", "-u", "65534", "-g", "65534", "--name", "web", "--chdir", "/",
        "--ready", "10ms", "--", "sh", "-c", "echo by name > /dev/stderr; sleep 1000",
    )  # fmt: skip
    wait_output(home.home / "web", "0 err by name")
