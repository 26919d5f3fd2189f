"""The path of a scoreboard must be a descriptor of a process."""

from pathlib import Path

from prefork.cli.registry.scoreboard_reader import open_app_scoreboard
from prefork.unix.scoreboard import Scoreboard


def test_only_a_descriptor_of_a_process_is_opened(tmp_path: Path) -> None:
    board = Scoreboard()
    (tmp_path / "copy").write_bytes(Path(board.path).read_bytes())
    assert open_app_scoreboard({"scoreboard": board.path}) is not None
    for path in (str(tmp_path / "copy"), f"/proc/../{tmp_path}/copy", "/dev/zero", "", None, 3):
        assert open_app_scoreboard({"scoreboard": path}) is None
