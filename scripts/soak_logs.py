"""Prints many numbered lines through the log writer, then checks the log files.

The files must have each line exactly once and in order. Meanwhile a ``prefork logs -f`` runs, which
is stopped for half of the time, and with ``--kill`` the log writer is killed again and again. The
memory of the master before and after is printed, and the CPU time of the log writer.
"""

import argparse
import gzip
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

from prefork import Client

APP = """\
import os, sys, threading, time
import prefork

def main(listener):
    slot, lines_each = os.environ["PREFORK_SLOT"], {lines_each}
    started_at = time.monotonic()
    for number in range(lines_each):
        stream = sys.stderr if number % 10 == 0 else sys.stdout
        print(f"line {{number}} of {{slot}} " + "x" * 60, file=stream)
        ahead = number / {rate} - (time.monotonic() - started_at)
        if number % 100 == 0 and ahead > 0:
            time.sleep(ahead)
    took = time.monotonic() - started_at
    with open(f"done-{{slot}}", "w") as file:
        file.write(str(took))
    while True:
        listener.accept()
"""

LINE = re.compile(rb"^\S+ \S+ \[\d+\] (\d+) (out|err) line (\d+) of (\d+) x{60}$")
"""A line in the log: slot and stream from prefork's prefix, then number and slot from the app."""


def main() -> int:
    """Run the check and return the exit code: 0 when all lines are there, 1 otherwise."""
    options = _parse_options()
    lines_each = options.rate * options.seconds // options.workers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "soak.py").write_text(
            APP.format(lines_each=lines_each, rate=options.rate / options.workers)
        )
        environ = {**os.environ, "PREFORK_HOME": f"{folder}/home", "PWD": name}
        prefork = [sys.executable, "-m", "prefork"]
        start = ["start", "-b", "127.0.0.1:0", "-w", str(options.workers), "--log-keep", "100000"]
        start += ["--log-rotate-size", options.rotate, "--timeout", "off", "soak:main"]
        subprocess.run(prefork + start, cwd=folder, env=environ, check=True)
        try:
            _wait_for_workers(folder, environ, options, lines_each)
        finally:
            subprocess.run([*prefork, "stop", "--quick", "soak"], env=environ, check=True)
        return _check_files(folder / "home/soak", options.workers, lines_each)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak-logs", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=int, default=20, help="time over which lines are printed (%(default)s)")
    add("--rate", type=int, default=50_000, help="lines a second of all workers (%(default)s)")
    add("--workers", type=int, default=2, help="number of workers (%(default)s)")
    add("--rotate", default="5m", help="size at which a log file is rotated (%(default)s)")
    add("--kill", action="store_true", help="kill the log writer every half second")
    return parser.parse_args()


def _wait_for_workers(
    folder: Path, environ: dict[str, str], options: argparse.Namespace, lines_each: int
) -> None:
    """Wait until all workers have printed their lines, and print rate, memory and CPU time."""
    master = psutil.Process(Client(folder / "home").apps()[0]["pid"])
    before = master.memory_full_info().uss
    follow = [sys.executable, "-m", "prefork", "logs", "soak", "-f", "-n", "0"]
    follower = subprocess.Popen(follow, env=environ, stdout=subprocess.DEVNULL)
    started_at = time.monotonic()
    kills = 0
    while len(list(folder.glob("done-*"))) < options.workers:
        time.sleep(0.5)
        seconds = time.monotonic() - started_at
        stopped = options.seconds / 4 < seconds < options.seconds * 3 / 4
        follower.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)
        if options.kill:
            kills += _kill_log_writer(master)
        if seconds > 20 * options.seconds:
            sys.exit(f"the workers have not printed all lines within {20 * options.seconds} s")
    durations = [float(done.read_text()) for done in folder.glob("done-*")]
    after = master.memory_full_info().uss
    cpu = {child.pid: child.cpu_times() for child in _find_log_writers(master)}
    follower.send_signal(signal.SIGCONT)
    follower.terminate()
    follower.wait()
    lines = options.workers * lines_each
    print(f"{lines} lines in {max(durations):.1f} s: {lines / max(durations):,.0f}/s")
    print(
        f"master: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after; {kills} writers killed"
    )
    print(f"log writer: {sum(c.user + c.system for c in cpu.values()):.1f} s of CPU")


def _find_log_writers(master: psutil.Process) -> list[psutil.Process]:
    """Return the running log writers of the master."""
    writers = []
    for child in master.children():
        with suppress(psutil.Error):  # it has just exited
            if "log writer" in " ".join(child.cmdline()):
                writers.append(child)
    return writers


def _kill_log_writer(master: psutil.Process) -> int:
    """Kill the log writer if it runs; return the number of killed processes, 0 or 1."""
    for writer in _find_log_writers(master):
        writer.kill()
        return 1
    return 0


def _check_files(folder: Path, workers: int, lines_each: int) -> int:
    """Read all log files, print the counts, and return the exit code."""
    found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    unknown = 0
    rotated = sorted(folder.glob("soak.out.*"), key=lambda path: int(path.name.split(".")[2]))
    for path in [*rotated, folder / "soak.out"]:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            for line in file:
                match = LINE.match(line.rstrip(b"\n"))
                if match is None or match[1] != match[4]:
                    unknown += 1
                    continue
                found[int(match[1]), match[2]].append(int(match[3]))
    wrong_streams = 0
    for slot in range(workers):
        printed = {
            b"err": list(range(0, lines_each, 10)),
            b"out": [n for n in range(lines_each) if n % 10],
        }
        for stream, numbers in printed.items():
            is_right = found[slot, stream] == numbers
            wrong_streams += not is_right
            count = len(found[slot, stream])
            print(
                f"slot {slot} {stream.decode()}: {count} lines, complete and in order: {is_right}"
            )
    print(f"{len(rotated)} rotated files, {unknown} lines that no worker printed")
    return 1 if wrong_streams or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
