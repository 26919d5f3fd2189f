"""Every worker prints numbered lines at a rate; afterwards the files must have each once, in order.

Also watched: the master's memory, a ``prefork logs -f`` that is stopped for half of the time, and,
with ``--kill``, a log writer that is killed again and again.
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
from pathlib import Path

import psutil

from prefork import Client

APP = """\
import os, sys, threading, time
import prefork

def main(listener):
    slot, each = os.environ["PREFORK_SLOT"], {each}
    started_at = time.monotonic()
    for number in range(each):
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


def main() -> int:
    """The exit code."""
    words = _parse_options()
    each = words.rate * words.seconds // words.workers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "soak.py").write_text(APP.format(each=each, rate=words.rate / words.workers))
        environ = {**os.environ, "PREFORK_HOME": f"{folder}/home", "PWD": name}
        prefork = [sys.executable, "-m", "prefork"]
        start = ["start", "-b", "127.0.0.1:0", "-w", str(words.workers), "--log-keep", "100000"]
        start += ["--log-rotate-size", words.rotate, "--timeout", "off", "soak:main"]
        subprocess.run(prefork + start, cwd=folder, env=environ, check=True)
        try:
            _wait_for_workers(folder, environ, words, each)
        finally:
            subprocess.run([*prefork, "stop", "--quick", "soak"], env=environ, check=True)
        return _check_files(folder / "home/soak", words.workers, each)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak-logs", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=50_000, help="lines a second, of all workers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rotate", default="5m", help="size at which the file is rotated")
    parser.add_argument("--kill", action="store_true", help="kill the log writer now and then")
    return parser.parse_args()


def _wait_for_workers(
    folder: Path, environ: dict[str, str], words: argparse.Namespace, each: int
) -> None:
    master = psutil.Process(Client(folder / "home").apps()[0]["pid"])
    before = master.memory_full_info().uss
    follow = [sys.executable, "-m", "prefork", "logs", "soak", "-f", "-n", "0"]
    follower = subprocess.Popen(follow, env=environ, stdout=subprocess.DEVNULL)
    started_at = time.monotonic()
    kills = 0
    while len(list(folder.glob("done-*"))) < words.workers:
        time.sleep(0.5)
        seconds = time.monotonic() - started_at
        stopped = words.seconds / 4 < seconds < words.seconds * 3 / 4
        follower.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)
        if words.kill:
            kills += _kill_log_writer(master)
        if seconds > 20 * words.seconds:
            sys.exit("it does not come to its end")
    took = [float(done.read_text()) for done in folder.glob("done-*")]
    after = master.memory_full_info().uss
    cpu = {child.pid: child.cpu_times() for child in _find_log_writers(master)}
    follower.send_signal(signal.SIGCONT)
    follower.terminate()
    follower.wait()
    lines = words.workers * each
    print(f"{lines} lines in {max(took):.1f} s: {lines / max(took):,.0f}/s")
    print(
        f"master: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after; {kills} writers killed"
    )
    print(f"log writer: {sum(c.user + c.system for c in cpu.values()):.1f} s of CPU")


def _find_log_writers(master: psutil.Process) -> list[psutil.Process]:
    return [child for child in master.children() if "log writer" in " ".join(child.cmdline())]


def _kill_log_writer(master: psutil.Process) -> int:
    for writer in _find_log_writers(master):
        writer.kill()
        return 1
    return 0


def _check_files(folder: Path, workers: int, each: int) -> int:
    found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    strange = 0
    olds = sorted(folder.glob("soak.out.*"), key=lambda path: int(path.name.split(".")[2]))
    for path in [*olds, folder / "soak.out"]:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            for line in file:
                match = LINE.match(line.rstrip(b"\n"))
                if match is None or match[1] != match[4]:
                    strange += 1
                    continue
                found[int(match[1]), match[2]].append(int(match[3]))
    missing = 0
    for slot in range(workers):
        wanted = {b"err": list(range(0, each, 10)), b"out": [n for n in range(each) if n % 10]}
        for stream, numbers in wanted.items():
            right = found[slot, stream] == numbers
            missing += not right
            count = len(found[slot, stream])
            print(f"slot {slot} {stream.decode()}: {count} lines, complete and in order: {right}")
    print(f"{len(olds)} rotated files, {strange} lines that nobody printed")
    return 1 if missing or strange else 0


if __name__ == "__main__":
    sys.exit(main())
