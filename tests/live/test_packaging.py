"""What pip builds: with a compiler, without one, and in pure Python."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path, **changes: str) -> tuple[str, list[str]]:
    """Build a wheel of a copy of the sources; return its name and the extensions in it."""
    sources = folder / "sources"
    ignored = shutil.ignore_patterns(".git", ".venv*", "*.so", "*.c", "build", "*.egg-info")
    shutil.copytree(ROOT, sources, ignore=ignored)
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


def test_a_compiler_is_used(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    name, extensions = build_wheel(tmp_path)
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert f"-{version}-{version}-linux_" in name
    assert len(extensions) == len([*(ROOT / "prefork/_speed").glob("*.pyx")])


def test_without_a_compiler_the_package_is_built_without_its_extensions(tmp_path: Path) -> None:
    _, extensions = build_wheel(tmp_path, CC="/bin/false")
    assert extensions == []


def test_a_wheel_in_pure_python_is_for_any_machine(tmp_path: Path) -> None:
    name, extensions = build_wheel(tmp_path, PREFORK_PURE="1")
    assert name.endswith("-py3-none-any.whl")
    assert extensions == []


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
