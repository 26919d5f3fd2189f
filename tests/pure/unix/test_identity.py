"""The user and group of workers, resolved and assumed in real children."""

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

OTHER = 65534
OTHER_NAME = pwd.getpwuid(OTHER).pw_name


def test_without_user_and_group_the_identity_stays() -> None:
    assert resolve_identity("", "") == Identity()


@pytest.mark.parametrize("user", ["no-such-user", "9" * 30])
def test_an_unknown_user_is_a_usage_error(user: str) -> None:
    with pytest.raises(UsageError, match=f"no user is called '{user}'; see `getent passwd`"):
        resolve_identity(user, "")


@pytest.mark.parametrize("group", ["no-such-group", "9" * 30])
def test_an_unknown_group_is_a_usage_error(group: str) -> None:
    with pytest.raises(UsageError, match=f"no group is called '{group}'; see `getent group`"):
        resolve_identity("", group)


def test_a_user_id_without_an_entry_needs_a_group() -> None:
    with pytest.raises(UsageError, match="name a group, too"):
        resolve_identity("4000000001", "")


@as_root
def test_ids_without_an_entry_are_used_as_they_are() -> None:
    assert resolve_identity("4000000001", "4000000002") == Identity(4000000001, 4000000002, "")


def _as(user: str, look: Callable[[], int]) -> int:
    """Return the result of ``look`` in a child that runs as ``user``."""
    child = fork_child(lambda: (resolve_identity(user, "").assume(), look())[1])
    death = child.reap()
    assert death.signal is None
    assert death.code is not None
    return death.code


@as_root
def test_a_user_name_sets_its_id_and_its_group() -> None:
    other = pwd.getpwuid(OTHER)
    expected = Identity(other.pw_uid, other.pw_gid, OTHER_NAME)
    assert resolve_identity(OTHER_NAME, "") == expected
    assert resolve_identity(str(other.pw_uid), "") == expected
    assert resolve_identity(OTHER_NAME, "0") == Identity(other.pw_uid, 0, OTHER_NAME)
    assert resolve_identity("", "0") == Identity(None, 0, "")


@as_root
def test_a_process_that_changed_its_user_cannot_change_back() -> None:
    other = pwd.getpwuid(OTHER)

    def look() -> int:
        ids = (os.getresuid(), os.getresgid(), set(os.getgroups()) - {other.pw_gid})
        if ids != ((other.pw_uid,) * 3, (other.pw_gid,) * 3, set()):
            return 1
        try:
            os.setuid(0)
        except PermissionError:
            return 0
        return 2

    assert _as(OTHER_NAME, look) == 0


@as_root
def test_a_group_alone_leaves_the_user_and_drops_the_other_groups() -> None:
    other = pwd.getpwuid(OTHER)

    def life() -> int:
        resolve_identity("", str(other.pw_gid)).assume()
        return int((os.getuid(), os.getgid(), os.getgroups()) != (0, other.pw_gid, [other.pw_gid]))

    assert fork_child(life).reap() == ExitStatus(0, None)


@as_root
def test_only_root_may_run_workers_as_another_user() -> None:
    def look() -> int:
        if resolve_identity(OTHER_NAME, "") != Identity():
            return 1
        try:
            resolve_identity("root", "")
        except MachineError as error:
            return int("only root can change user and group" not in str(error))
        return 2

    assert _as(OTHER_NAME, look) == 0
