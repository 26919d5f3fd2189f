"""A systemd that is newer than the one of this machine, from the backports of its Debian.

Its packages are unpacked over the root of a booted container; nothing is installed.
"""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("systemd", "libsystemd-shared", "libsystemd0")
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"


def packages_of_systemd(version: int, folder: Path) -> list[Path]:
    """Return packages with a systemd of this version or a later one; none: this machine has it.

    They are fetched into ``folder``. Skips the test where there are none.
    """
    if version_of_systemd() >= version:
        return []
    system = platform.freedesktop_os_release()
    if system.get("ID") != "debian" or shutil.which("apt-get") is None:
        pytest.skip(f"this is no Debian, and its systemd is older than {version}")
    suite = f"{system['VERSION_CODENAME']}-backports"
    (folder / "sources").write_text(f"deb [signed-by={KEYS}] {MIRROR} {suite} main\n")
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    _apt(folder, "update")
    _apt(folder, "download", *(f"{name}/{suite}" for name in PACKAGES))
    found = sorted(folder.glob("*.deb"))
    own = next((int(m[1]) for file in found if (m := re.match(r"systemd_(\d+)", file.name))), 0)
    if own < version:
        pytest.skip(f"{suite} has systemd {own}, and the test needs {version}")
    return found


def version_of_systemd() -> int:
    """Return the version of this machine's systemd; 0: there is none."""
    if shutil.which("systemctl") is None:
        return 0
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"systemd (\d+)", said.stdout)
    return int(found[1]) if found else 0


def _apt(folder: Path, *words: str) -> None:
    options = {
        "Dir::Etc::SourceList": folder / "sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    done = subprocess.run(
        ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items()), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(
            f"apt-get {words[0]} cannot fetch a newer systemd: {done.stderr.strip()[-300:]}"
        )
