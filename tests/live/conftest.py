"""Tiers of the live tests, by marker. ``scripts/test`` says which tier runs when.

load    the verdict depends on the processor time that the test gets: it runs alone
slow    minutes, or tools that are not on every machine, or many cases of one attack or failure,
        so that CI takes less than a quarter of an hour: only ``scripts/test --all`` runs it
smoke   a part of the suite that ``scripts/test --pythons`` runs on each version of Python
both_builds
        a part that runs again without the compiled part (PREFORK_PURE=1)
"""

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.live.harness import SERVERS

# A shell ignores SIGINT in what it starts in the background, and a process hands that on to its
# children: no test of Ctrl-C would end.
signal.signal(signal.SIGINT, signal.default_int_handler)

LOAD = {
    "test_bench",
    "test_fair_accept",
    "test_master_autoscale",
    "test_master_chaos",
    "test_node_fair",
}
SLOW = {
    "test_full_disk",
    "test_hostile_children",
    "test_isolation",
    "test_log_flow",
    "test_log_folders",
    "test_manage_concurrent",
    "test_manage_control_group",
    "test_manage_home_of_others",
    "test_manage_versions",
    "test_moved_projects",
    "test_node_registry",
    "test_packaging",
    "test_peer_words",
    "test_readme",
    "test_soak",
    "test_store_hostile",
    "test_store_soak",
    "test_store_suites",
    "test_systemd_booted",
    "test_systemd_crashes",
    "test_systemd_failed_start",
    "test_systemd_hardening",
    "test_systemd_newer",
    "test_systemd_startup",
    "test_texts",
}
SMOKE = {
    "test_interface_asgi",
    "test_interface_main",
    "test_interface_threads",
    "test_interface_wsgi",
    "test_manage",
    "test_master_reload",
    "test_smoke",
    "test_tls",
    "test_websocket_app",
}
BOTH_BUILDS = {
    "test_connection_memory",
    "test_http_connection",
    "test_slow_log",
    "test_smoke",
    "test_stuck",
    "test_websocket_app",
}
MARKERS = {"load": LOAD, "slow": SLOW, "smoke": SMOKE, "both_builds": BOTH_BUILDS}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of these modules the marker of its tier."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            for marker, modules in MARKERS.items():
                if item.path.stem in modules:
                    item.add_marker(marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of a test's servers when it fails, and forget them when it has ended."""
    report = yield
    if report.failed:
        for server in SERVERS:
            report.sections.append((f"log of the master {server.pid}", server.log))
    if call.when == "teardown":
        # Servers of a module's fixture go on, but each was shown with the tests that it served.
        SERVERS[:] = [server for server in SERVERS if server.process.poll() is None]
    return report
