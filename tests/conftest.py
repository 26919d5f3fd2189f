"""Fixtures for all tests: certificates, and the option --seeds."""

import os

import pytest

from tests.certificates import SECRET, Authority, Keyring, keyring

# Images of containers set it. A print() is two writes then, and the lines of two workers mix.
os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many histories test_manage_concurrent.py plays."""
    parser.addoption("--seeds", type=int, default=2, help="histories of verbs beside each other")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """The certificates of an authority, two servers and two clients."""
    return keyring(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has issued ``good``, ``other`` and ``locked`` (encrypted with SECRET)."""
    made = Authority(tmp_path_factory.mktemp("keys"))
    made.issue("good", "site.test", "localhost")
    made.issue("other", "site.test")
    made.issue("locked", "site.test", password=SECRET)
    return made
