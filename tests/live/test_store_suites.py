"""The frameworks' own tests of the interfaces that the adapters have, at the installed versions.

They come from the frameworks' source distributions on PyPI, and are kept beside the environment of
the tests. These are left out:

Django       ``test_cull`` and ``test_zero_cull``: MAX_ENTRIES of one cache has no meaning, because
             the store has one limit for all, ``--store-size``.
limits       ``TestBaseStorage``, ``TestStorageErrors``, and the tests of its parser and of its own
             storages: they do not call a storage of ours. The benchmarks assert nothing.

The tests of limits assert times to within 10 ms, and sleep for most of a minute. They run on a
clock that is moved by their sleeps, and by a tick at each reading, so they assert the same on a
loaded machine.
"""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)

SUITES = Path(sys.prefix) / "suites"

CACHELIB = """\
import pytest
from clear import ClearTests
from common import CommonTests
from has import HasTests

from prefork.adapters.cachelib import Cache, FlaskCache


@pytest.fixture(params=[Cache, FlaskCache])
def cache_factory(request):
    def make(self, *args, **options):
        cache = request.param(*args, **options)
        cache.clear()
        return cache

    request.cls.cache_factory = make


@pytest.mark.usefixtures("cache_factory")
class TestPrefork(CommonTests, ClearTests, HasTests):
    pass
"""

DJANGO = """\
from django.test import TestCase, override_settings

from cache.tests import BaseCacheTests, caches_setting_for_tests


@override_settings(CACHES=caches_setting_for_tests(BACKEND="prefork.adapters.django.Cache"))
class PreforkCacheTests(BaseCacheTests, TestCase):
    test_cull = None
    test_zero_cull = None
"""

DJANGO_SETTINGS = """\
SECRET_KEY = "of the tests"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.sessions", "cache"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
ROOT_URLCONF = "urls"
USE_TZ = False
"""

LIMITS_CONFTEST = """\
import asyncio
import inspect
import threading
import time

import pytest

# The clock, which is in place before prefork is imported.
TICK = 1e-5
sleep_in_loop = asyncio.sleep
lock = threading.Lock()
now = time.time()


def advance(seconds=TICK):
    global now
    with lock:
        now += max(seconds, TICK)
        return now


async def advance_in_loop(seconds):
    advance(seconds)
    await sleep_in_loop(0)


time.time = advance
time.sleep = advance
asyncio.sleep = advance_in_loop

from prefork.adapters.limits import AsyncSharedStorage, SharedStorage

from limits.storage import storage_from_string
from tests import utils
from tests.test_storage import TestConcreteStorages as Storages
from tests.aio.test_storage import TestConcreteStorages as AsyncStorages

# The storages under test, which are in place before the tests are imported.


def only(uri):
    return pytest.mark.parametrize("uri, args, fixture", [(uri, {}, None)])


sync, in_loop = only("prefork://"), only("async+prefork://")
utils.all_storage = utils.moving_window_storage = utils.sliding_window_counter_storage = sync
utils.async_all_storage = utils.async_moving_window_storage = in_loop
utils.async_sliding_window_counter_storage = in_loop
names = "uri, args, expected_instance, fixture"
Storages.pytestmark = [pytest.mark.parametrize(names, [("prefork://", {}, SharedStorage, None)])]
AsyncStorages.pytestmark = [
    pytest.mark.parametrize(names, [("async+prefork://", {}, AsyncSharedStorage, None)])
]


@pytest.fixture(autouse=True)
def empty_store():
    storage_from_string("prefork://").reset()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
"""


def source_of(package: str) -> Path:
    """Return the folder of the source of an installed package, which is downloaded once."""
    name = f"{package}-{version(package)}"
    folder = SUITES / name
    if not folder.is_dir():
        words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(SUITES)]
        command = [sys.executable, "-m", "pip", *words, f"{package}=={version(package)}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"{name} cannot be downloaded: {done.stderr[-200:]}")
        with tarfile.open(SUITES / f"{name}.tar.gz") as archive:
            archive.extractall(SUITES, filter="data")
    return folder


def run_suite(words: list[str], cwd: Path, store: Path, **env: str) -> str:
    """Run a suite on a store of its own, and return what it says. It has to pass."""
    store.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "PREFORK_STORE": str(store), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def count(pattern: str, said: str) -> int:
    """Return how many tests a suite has run."""
    found = re.search(pattern, said)
    return int(found[1]) if found else 0


def test_cachelib(tmp_path: Path) -> None:
    tests = source_of("cachelib") / "tests"
    conftest = tests / "conftest.py"
    # It starts servers of other caches by a plugin of pytest.
    needed = conftest.read_text().replace("from xprocess import ProcessStarter", "")
    conftest.write_text(needed.replace("(ProcessStarter)", ""))
    (tests / "test_prefork.py").write_text(CACHELIB)
    words = ["pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=", "test_prefork.py"]
    assert count(r"(\d+) passed", run_suite(words, tests, tmp_path / "store")) >= 20


def test_django(tmp_path: Path) -> None:
    tests = source_of("django") / "tests"
    (tests / "cache" / "prefork_tests.py").write_text(DJANGO)
    (tests / "prefork_settings.py").write_text(DJANGO_SETTINGS)
    said = run_suite(
        ["django", "test", "--noinput", "cache.prefork_tests"],
        tests,
        tmp_path / "store",
        PYTHONPATH=str(tests),
        DJANGO_SETTINGS_MODULE="prefork_settings",
    )
    assert count(r"Ran (\d+) tests", said) >= 50


def test_limits(tmp_path: Path) -> None:
    source = source_of("limits")
    tests = source / "tests"
    (tests / "conftest.py").write_text(LIMITS_CONFTEST)
    # Fixtures of this plugin of pytest start the servers of other storages.
    (source / "pytest_lazy_fixtures.py").write_text("lf = str\n")
    files = ["tests/test_strategy.py", "tests/aio/test_strategy.py", "tests/integration"]
    concrete = [f"{each}/test_storage.py::TestConcreteStorages" for each in ("tests", "tests/aio")]
    options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=", "-o", "addopts="]
    said = run_suite(["pytest", *options, *files, *concrete], source, tmp_path / "store")
    assert count(r"(\d+) passed", said) >= 60
