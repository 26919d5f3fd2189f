"""The table of app interfaces: what each entry names, and where interfaces may be named."""

import ast
from pathlib import Path

import pytest

from prefork.config import OPTIONS
from prefork.config.interfaces import APP_INTERFACES, COMMAND_INTERFACE, INTERFACES, InterfaceEntry
from prefork.worker import interface_detection
from prefork.worker.interface import AppService, CommandService, Detector
from prefork.worker.interface_detection import DETECTORS, load_class

WORKER = Path(interface_detection.__file__).parent

GENERAL = ["boot.py", "http_worker.py", "http_service.py", "interface_detection.py"]
"""The files that build a worker of any interface."""

IMPLEMENTATIONS = {
    module.removeprefix("prefork.worker.").split(".")[0]
    for entry in INTERFACES
    for path in (entry.service, entry.detector)
    for module in [path.partition(":")[0]]
    if module
}
"""The packages and modules of the worker that belong to one interface."""


@pytest.mark.parametrize("entry", INTERFACES, ids=lambda entry: entry.name)
def test_an_entry_names_a_service(entry: InterfaceEntry) -> None:
    base = AppService if entry.detector else CommandService
    assert issubclass(load_class(entry.service), base)


@pytest.mark.parametrize("entry", APP_INTERFACES.values(), ids=lambda entry: entry.name)
def test_an_entry_of_an_app_names_a_detector(entry: InterfaceEntry) -> None:
    detector = DETECTORS[entry.name]
    assert issubclass(detector, Detector)
    assert not getattr(detector, "__abstractmethods__", None)


def test_each_entry_but_that_of_a_command_is_a_value_of_the_option() -> None:
    option = OPTIONS["interface"]
    assert option.value_type.metavar == "auto|" + "|".join(APP_INTERFACES)
    assert all(entry.text in option.text for entry in APP_INTERFACES.values())
    assert COMMAND_INTERFACE.name not in option.value_type.metavar


SETTINGS = {"interface", "threads", "threads_queue"}
"""Settings that only interfaces and their detection ask for."""


def test_the_general_part_of_a_worker_asks_for_no_setting_of_an_interface() -> None:
    files = [WORKER / name for name in GENERAL if name not in {"boot.py", "interface_detection.py"}]
    for path in [*files, *WORKER.glob("accept/*.py"), *WORKER.glob("monitor/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in SETTINGS:
                owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
                assert owner.strip("_") != "config", f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("name", GENERAL)
def test_the_general_part_of_a_worker_names_no_interface(name: str) -> None:
    """Imports, names and strings, but not the documentation, which gives examples."""
    tree = ast.parse((WORKER / name).read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    interfaces = {entry.name for entry in INTERFACES}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)):
                assert not IMPLEMENTATIONS.intersection(module.split("."))
            case ast.Name(id=word):
                assert not interfaces.intersection(word.lower().split("_"))
            case ast.Constant(value=str(text)) if id(node) not in documentation:
                assert not interfaces.intersection(text.lower().replace(".", " ").split())
