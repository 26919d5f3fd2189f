"""Workers of a root master that run as another user keep nothing of root's privileges."""

import subprocess
from pathlib import Path

import psutil
import pytest

from tests.live.harness import Server, command, command_line, serving, shared_folder, wait_for
from tests.pure.children import as_root

OTHER = 65534
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")

APP = """\
def app(environ, start_response):
    with open("/proc/self/status") as file:
        body = file.read()
    start_response("200 OK", [])
    return [body.encode()]
"""


def fields(status: str) -> dict[str, str]:
    """Parse the fields of /proc/PID/status."""
    pairs = (line.partition(":") for line in status.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def of(server: Server) -> dict[str, str]:
    """Return the fields of the worker's /proc/self/status."""
    status, body = server.get()
    assert status == 200
    return fields(body.decode())


def is_without_rights(found: dict[str, str]) -> bool:
    return all(int(found[name], 16) == 0 for name in SETS)


def may(*options: str) -> tuple[str, ...]:
    """Return a setpriv(1) prefix with these options; skip the test where the machine refuses
    them."""
    prefix = ("setpriv", *options)
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"{' '.join(prefix)} is not allowed here")
    return prefix


@as_root
def test_a_worker_of_another_user_has_no_capability_and_can_gain_none() -> None:
    with shared_folder() as folder:
        (folder / "app.py").write_text(APP)
        with serving(folder, "app:app", "-u", str(OTHER), "-g", str(OTHER)) as server:
            found = of(server)
            assert is_without_rights(found)
            assert found["Uid"].split() == [str(OTHER)] * 4
            assert found["Gid"].split() == [str(OTHER)] * 4
            assert found["Groups"].split() == [str(OTHER)]
            assert found["NoNewPrivs"] == "0"
            master = fields(Path(f"/proc/{server.pid}/status").read_text())
            assert int(master["CapBnd"], 16) != 0


@as_root
@pytest.mark.parametrize(
    "options",
    [
        ("--inh-caps", "+net_bind_service", "--ambient-caps", "+net_bind_service"),
        ("--securebits", "+no_setuid_fixup"),
        ("--bounding-set", "-setpcap"),
    ],
    ids=["ambient", "securebits", "no-setpcap"],
)
def test_a_worker_has_no_capability_whatever_the_master_was_given(options: tuple[str, ...]) -> None:
    prefix = may(*options)
    with shared_folder() as folder:
        (folder / "app.py").write_text(APP)
        with serving(
            folder, "app:app", "-u", str(OTHER), "-g", str(OTHER), prefix=prefix
        ) as server:
            found = of(server)
            if "--bounding-set" in options:  # without CAP_SETPCAP it cannot be emptied
                found["CapBnd"] = "0"
            assert is_without_rights(found)


@as_root
def test_a_program_of_another_user_has_no_capability_and_the_master_binds_the_port() -> None:
    with shared_folder() as folder:
        words = ("--name", "program", "-u", str(OTHER), "-g", str(OTHER), "-b", "127.0.0.1:0")
        server = Server(*words, "--", "sleep", "600", cwd=folder)
        try:
            (program,) = wait_for(
                lambda: [each for each in server.workers() if each.name() == "sleep"], "it runs"
            )
            status = fields(Path(f"/proc/{program.pid}/status").read_text())
            assert is_without_rights(status)
            assert status["Uid"].split() == [str(OTHER)] * 4
        finally:
            server.destroy()


@as_root
def test_a_root_worker_keeps_the_capabilities_of_root(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with serving(tmp_path, "app:app") as server:
        mine = fields(Path("/proc/self/status").read_text())
        assert of(server)["CapBnd"] == mine["CapBnd"]
        assert of(server)["CapEff"] == mine["CapEff"]


@as_root
def test_the_status_server_gains_nothing_by_exec() -> None:
    with shared_folder() as folder:
        (folder / "app.py").write_text(APP)
        words = ("-u", str(OTHER), "-g", str(OTHER), "--status", "127.0.0.1:0")
        with serving(folder, "app:app", *words) as server:
            children = psutil.Process(server.pid).children()
            (status,) = [each for each in children if "status" in command_line(each)]

            def found() -> dict[str, str]:
                return fields(Path(f"/proc/{status.pid}/status").read_text())

            wait_for(lambda: found()["NoNewPrivs"] == "1", "it gave up its rights")
            assert is_without_rights(found())


def test_no_new_privs_is_for_workers_and_changes_with_a_reload(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    settings = tmp_path / "prefork.toml"
    settings.write_text("no-new-privs = true\n")
    with serving(tmp_path, "app:app", "-c", "prefork.toml") as server:
        assert of(server)["NoNewPrivs"] == "1"
        settings.write_text("")
        server.send(1)
        server.wait_log("reloaded to gen 2")
        assert of(server)["NoNewPrivs"] == "0"


def test_the_shipped_unit_sets_no_new_privileges() -> None:
    unit = Path(__file__).parents[2] / "conf" / "prefork.service"
    assert "NoNewPrivileges=yes" in unit.read_text().splitlines()


@as_root
def test_a_check_runs_as_a_worker_would() -> None:
    with shared_folder() as folder:
        code = "assert 'CapBnd:\\t' + '0' * 16 in open('/proc/self/status').read()\n"
        (folder / "app.py").write_text(code + APP)
        words = ("--check", "-u", str(OTHER), "-g", str(OTHER), "app:app")
        ended = command(*words, cwd=folder)
        assert ended.returncode == 0, ended.stderr
