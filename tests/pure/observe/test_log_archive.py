"""Compressing and removing rotated logs."""

import logging
import os
from pathlib import Path

from prefork.observe.log_archive import Archive
from prefork.observe.log_rotation import RotationPolicy
from prefork.unix.directory import Directory
from prefork.unix.process import ExitStatus
from tests.live.harness import wait_for
from tests.pure.children import fork_child

LOGGER = logging.getLogger(__name__)


def old_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("w.out.*"))


def test_rotated_logs_are_counted_before_a_new_log_exists(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"w.out.{number}").write_text("one\n")
    Archive(Directory.open(tmp_path), "w.out", RotationPolicy(keep=1), LOGGER)._compress_and_prune()
    assert old_names(tmp_path) == ["w.out.2.gz"]


def test_a_process_with_a_higher_nice_value_compresses_logs(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "w.out").write_text("one\n")
    if os.geteuid() == 0:
        os.chown(tmp_path / "w.out", 65534, 65534)

    def live() -> int:
        os.chdir(tmp_path)
        os.nice(15)
        if os.geteuid() == 0:
            os.setuid(65534)
        Archive(Directory.open("."), "w.out", RotationPolicy(), LOGGER).add()
        wait_for(lambda: old_names(Path()) == ["w.out.1.gz"], "compressed")
        return 0

    assert fork_child(live).reap() == ExitStatus(0, None)
