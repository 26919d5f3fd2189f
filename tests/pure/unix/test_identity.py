"""Who workers run as, looked up and assumed in real children."""

import os
import pwd
from collections.abc import Callable

import pytest

from prefork.errors import MachineError, UsageError
from prefork.unix.identity import Identity, look_up
from prefork.unix.process import (
    Death,
)
from tests.pure.children import as_root, born


def test_without_user_and_group_we_stay_who_we_are() -> None:
    assert look_up("", "") == Identity()


@pytest.mark.parametrize("user", ["no-such-user", "9" * 30])
def test_an_unknown_user_is_told(user: str) -> None:
    with pytest.raises(UsageError, match=f"no user is called '{user}'; see `getent passwd`"):
        look_up(user, "")


@pytest.mark.parametrize("group", ["no-such-group", "9" * 30])
def test_an_unknown_group_is_told(group: str) -> None:
    with pytest.raises(UsageError, match=f"no group is called '{group}'; see `getent group`"):
        look_up("", group)


def test_a_number_that_no_list_knows_needs_a_group() -> None:
    with pytest.raises(UsageError, match="name a group, too"):
        look_up("4000000001", "")


@as_root
def test_numbers_that_no_list_knows_are_taken_as_they_are() -> None:
    assert look_up("4000000001", "4000000002") == Identity(4000000001, 4000000002, "")


def _as(user: str, look: Callable[[], int]) -> int:
    """What ``look`` returns in a child that became ``user``."""
    child = born(lambda: (look_up(user, "").assume(), look())[1])
    death = child.reap()
    assert death.signal is None
    assert death.code is not None
    return death.code


@as_root
def test_a_name_brings_its_number_and_its_group() -> None:
    nobody = pwd.getpwnam("nobody")
    expected = Identity(nobody.pw_uid, nobody.pw_gid, "nobody")
    assert look_up("nobody", "") == expected
    assert look_up(str(nobody.pw_uid), "") == expected
    assert look_up("nobody", "0") == Identity(nobody.pw_uid, 0, "nobody")
    assert look_up("", "0") == Identity(None, 0, "")


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
        look_up("", str(nobody.pw_gid)).assume()
        return int(
            (os.getuid(), os.getgid(), os.getgroups()) != (0, nobody.pw_gid, [nobody.pw_gid])
        )

    assert born(life).reap() == Death(0, None)


@as_root
def test_only_root_may_run_workers_as_somebody_else() -> None:
    def look() -> int:
        if look_up("nobody", "") != Identity():
            return 1
        try:
            look_up("root", "")
        except MachineError as error:
            return int("only root can change user and group" not in str(error))
        return 2

    assert _as("nobody", look) == 0
