"""Who workers run as, looked up and assumed in real children."""

import os
import pwd
from collections.abc import Callable

import pytest

from prefork.errors import MachineError, UsageError
from prefork.unix.identity import Identity, resolve_identity
from prefork.unix.process import (
    ExitStatus,
)
from tests.pure.children import as_root, fork_child


def test_without_user_and_group_we_stay_who_we_are() -> None:
    assert resolve_identity("", "") == Identity()


@pytest.mark.parametrize("user", ["no-such-user", "9" * 30])
def test_an_unknown_user_is_told(user: str) -> None:
    with pytest.raises(UsageError, match=f"no user is called '{user}'; see `getent passwd`"):
        resolve_identity(user, "")


@pytest.mark.parametrize("group", ["no-such-group", "9" * 30])
def test_an_unknown_group_is_told(group: str) -> None:
    with pytest.raises(UsageError, match=f"no group is called '{group}'; see `getent group`"):
        resolve_identity("", group)


def test_a_number_that_no_list_knows_needs_a_group() -> None:
    with pytest.raises(UsageError, match="name a group, too"):
        resolve_identity("4000000001", "")


@as_root
def test_numbers_that_no_list_knows_are_taken_as_they_are() -> None:
    assert resolve_identity("4000000001", "4000000002") == Identity(4000000001, 4000000002, "")


def _as(user: str, look: Callable[[], int]) -> int:
    """What ``look`` returns in a child that became ``user``."""
    child = fork_child(lambda: (resolve_identity(user, "").assume(), look())[1])
    death = child.reap()
    assert death.signal is None
    assert death.code is not None
    return death.code


@as_root
def test_a_name_brings_its_number_and_its_group() -> None:
    nobody = pwd.getpwnam("nobody")
    expected = Identity(nobody.pw_uid, nobody.pw_gid, "nobody")
    assert resolve_identity("nobody", "") == expected
    assert resolve_identity(str(nobody.pw_uid), "") == expected
    assert resolve_identity("nobody", "0") == Identity(nobody.pw_uid, 0, "nobody")
    assert resolve_identity("", "0") == Identity(None, 0, "")


@as_root
def test_who_became_somebody_cannot_go_back() -> None:
    nobody = pwd.getpwnam("nobody")

    def look() -> int:
        ids = (os.getresuid(), os.getresgid(), set(os.getgroups()) - {nobody.pw_gid})
        if ids != ((nobody.pw_uid,) * 3, (nobody.pw_gid,) * 3, set()):
            return 1
        try:
            os.setuid(0)
        except PermissionError:
            return 0
        return 2

    assert _as("nobody", look) == 0


@as_root
def test_a_group_alone_leaves_the_user_and_drops_the_other_groups() -> None:
    nobody = pwd.getpwnam("nobody")

    def life() -> int:
        resolve_identity("", str(nobody.pw_gid)).assume()
        return int(
            (os.getuid(), os.getgid(), os.getgroups()) != (0, nobody.pw_gid, [nobody.pw_gid])
        )

    assert fork_child(life).reap() == ExitStatus(0, None)


@as_root
def test_only_root_may_run_workers_as_somebody_else() -> None:
    def look() -> int:
        if resolve_identity("nobody", "") != Identity():
            return 1
        try:
            resolve_identity("root", "")
        except MachineError as error:
            return int("only root can change user and group" not in str(error))
        return 2

    assert _as("nobody", look) == 0
