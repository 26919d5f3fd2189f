"""Read the scoreboard of an app by the path in its state, which others may have written."""

from pathlib import Path

from prefork.cli.registry.scoreboard_reader import describe_from_scoreboard, open_app_scoreboard
from prefork.unix.scoreboard import Scoreboard
from prefork.wire.fields import WORKER_STATES


def test_only_a_descriptor_of_a_process_is_opened(tmp_path: Path) -> None:
    board = Scoreboard()
    (tmp_path / "copy").write_bytes(Path(board.path).read_bytes())
    assert open_app_scoreboard({"scoreboard": board.path}) is not None
    for path in (str(tmp_path / "copy"), f"/proc/../{tmp_path}/copy", "/dev/zero", "", None, 3):
        assert open_app_scoreboard({"scoreboard": path}) is None


def test_the_leader_is_the_worker_that_the_head_names() -> None:
    board = Scoreboard()
    for serial in (7, 8):
        board.set_row_fields(board.acquire_row(serial), pid=100 + serial, slot=serial - 7)
    state = {"scoreboard": board.path}
    assert describe_from_scoreboard(state)["leader"] is None
    board.set_head_fields(leader_token=40, leader=8)
    described = describe_from_scoreboard(state)
    assert described["leader"] == {"slot": 1, "pid": 108, "token": 40}
    assert [worker["leads"] for worker in described["workers"]] == [0, 1]
    assert described["figures"]["leads"] == 1


def test_any_numbers_of_a_master_are_read() -> None:
    board = Scoreboard()
    row = board.acquire_row(7)
    board.set_row_fields(row, pid=2**64 - 1, slot=2**63, generation=2**64 - 1, born=float("nan"))
    board.set_row_fields(row, state=len(WORKER_STATES))
    board.set_head_fields(rows=2**64 - 1, target=2**64 - 1, leader=7, leader_token=2**64 - 1)
    (worker,) = describe_from_scoreboard({"scoreboard": board.path})["workers"]
    assert (worker["slot"], worker["state"]) == (2**63, "")
