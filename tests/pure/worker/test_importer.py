"""The import of an app, and the imports of the master that a worker forgets before."""

import sys
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest

from prefork.errors import AppError
from prefork.unix.process import ExitStatus
from prefork.worker.importer import import_app, prepare_imports
from tests.pure.children import fork_child


def test_a_name_that_is_not_there_gets_the_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hinted_module.py").write_text("def application(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AppError, match=r"has no 'app'; did you mean application\?"):
        import_app("hinted_module:app", factory=False)
    with pytest.raises(AppError, match=r"has no 'more'$"):
        import_app("hinted_module:application.more", factory=False)


def test_finders_of_the_master_are_no_longer_used_but_not_freed(tmp_path: Path) -> None:
    folder = str(tmp_path)

    def live() -> int:
        sys.path.insert(0, folder)
        assert find_spec("no_such_module_here") is None
        finder = weakref.ref(sys.path_importer_cache[folder])
        prepare_imports([])
        assert find_spec("no_such_module_here") is None
        assert finder() is not None
        return int(sys.path_importer_cache[folder] is finder())

    assert fork_child(live).reap() == ExitStatus(0, None)
