"""The builds of pip with a compiler, without one, and in pure Python serve when installed."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.live.fresh_environment import copy_sources
from tests.live.harness import Server, own_environment
from tests.markdown_links import relative_targets

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def description_of(metadata: str) -> str:
    """Return what a package index shows of a package with this METADATA or PKG-INFO."""
    fields, _, description = metadata.partition("\n\n")
    assert "\nDescription-Content-Type: text/markdown" in fields
    return description


def build_wheel(folder: Path, **changes: str) -> tuple[str, list[str]]:
    """Build a wheel of a copy of the sources; return its name and the extensions in it."""
    sources = copy_sources(folder)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sources],
        env=os.environ | changes,
        check=True,
        timeout=250,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "prefork/_speed/__init__.py" in names
    return wheel.name, [name for name in names if name.endswith(".so")]


def check_installed(folder: Path, wheel: str, build: str) -> None:
    """Install a wheel in an environment of its own; serve and reload with it, as that build."""
    python = str(folder / "installed" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", folder / "installed"], check=True, timeout=120)
    install = [python, "-m", "pip", "install", "-q", folder / wheel]
    subprocess.run(install, check=True, timeout=250)
    for words, expected in ((["report"], f"({build}), Python"), (["help"], "quickstart")):
        answer = subprocess.run(
            [python, "-m", "prefork", *words],
            cwd=folder,
            env=own_environment() | {"PREFORK_HOME": str(folder / "home")},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        assert expected in answer.stdout
    (folder / "hello.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'hello']\n"
    )
    program = f"import os, sys; os.execv({python!r}, [{python!r}, '-m', 'prefork', *sys.argv[1:]])"
    words = ("-w", "1", "-b", "127.0.0.1:0", "hello:app")
    server = Server(*words, cwd=folder, program=(sys.executable, "-c", program)).ready()
    try:
        assert build in server.wait_log("listening on .*").string
        assert server.get("/") == (200, b"hello")
        server.send(signal.SIGHUP)
        server.wait_log("gen 2.*ready in")
        assert server.get("/") == (200, b"hello")
        assert server.stop() == 0
    finally:
        server.destroy()


def test_a_compiler_is_used(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    name, extensions = build_wheel(tmp_path)
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert f"-{version}-{version}-linux_" in name
    assert len(extensions) == len([*(ROOT / "prefork/_speed").glob("*.pyx")])
    check_installed(tmp_path, name, "compiled")


def test_without_a_compiler_the_package_is_built_without_its_extensions(tmp_path: Path) -> None:
    name, extensions = build_wheel(tmp_path, CC="/bin/false")
    assert extensions == []
    check_installed(tmp_path, name, "pure Python")


def test_a_wheel_in_pure_python_is_for_any_machine(tmp_path: Path) -> None:
    name, extensions = build_wheel(tmp_path, PREFORK_PURE="1")
    assert name.endswith("-py3-none-any.whl")
    assert extensions == []
    check_installed(tmp_path, name, "pure Python")


def test_an_index_shows_no_link_to_a_file_and_the_source_has_those_of_the_readme(
    tmp_path: Path,
) -> None:
    build_wheel(tmp_path, PREFORK_PURE="1")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        description = description_of(archive.read(name).decode())
    assert description == (ROOT / "conf/description.md").read_text()
    assert relative_targets(description) == []
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, tmp_path / "sources"]
    subprocess.run(command, check=True, timeout=250)
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {each.partition("/")[2] for each in archive.getnames()}
        file = archive.extractfile(f"{source.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert file is not None
        assert description_of(file.read().decode()) == description
    for compiled in (ROOT / "prefork/_speed").glob("*.pyx"):  # so that it builds without Cython
        assert f"prefork/_speed/{compiled.stem}.c" in names
    wanted = {target.partition("#")[0] for target in relative_targets(README.read_text())}
    assert wanted
    assert wanted <= names


def test_the_log_and_the_report_name_the_build() -> None:
    """``PREFORK_PURE`` also counts at run time."""
    for pure, build in (("1", "pure Python"), ("0", None)):
        report = subprocess.run(
            [sys.executable, "-m", "prefork", "report"],
            env=os.environ | {"PREFORK_PURE": pure},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout
        if build:
            assert f"({build}), Python" in report
        else:
            assert "(compiled), Python" in report or "(pure Python), Python" in report
