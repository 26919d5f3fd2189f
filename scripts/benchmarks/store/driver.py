"""The process that forks the measuring processes of one store.

Run it as `python -m benchmarks.store.driver CLIENT ADDRESS`. It reads orders from stdin, one JSON
object a line, and answers each with one on stdout. It never opens the store itself.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from time import perf_counter_ns
from typing import IO, Any, NoReturn

from .clients import CLIENTS, script_of

WARM_UP_CALLS = 100


def main(client: str, address: str) -> None:
    """Carry out orders until stdin ends."""
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(carry_out(client, address, **order)), flush=True)


def carry_out(
    client: str, address: str, operation: str, processes: int, seconds: float
) -> dict[str, Any]:
    """Let so many processes call the store, and return their latencies in nanoseconds."""
    with ExitStack() as stack:
        errors, *files = (
            stack.enter_context(tempfile.TemporaryFile()) for _ in range(processes + 1)
        )
        codes = fork_processes((client, address, operation, seconds), files, errors)
        if any(codes):
            errors.seek(0)
            told = errors.read().decode("utf-8", "replace").strip()
            return {"error": told.splitlines()[0] if told else f"processes ended with {codes}"}
        return summarize(read_samples(files))


def fork_processes(
    what: tuple[str, str, str, float], files: list[IO[bytes]], errors: IO[bytes]
) -> list[int]:
    """Fork a process for each file, which gets its latencies, and return their exit codes.

    All begin when the last one has opened the store. `what`: client, address, operation, seconds.
    """
    ready_reader, ready_writer = os.pipe()
    go_reader, go_writer = os.pipe()
    pids = []
    for seed, file in enumerate(files):
        pid = os.fork()
        if pid == 0:
            os.close(go_writer)
            run = partial(measure, *what, seed, ready_writer, go_reader)
            _measure_in_child(run, file, errors)
        pids.append(pid)
    for fd in (ready_writer, go_reader):
        os.close(fd)
    while os.read(ready_reader, 1):
        pass  # until each child has closed its end: all are ready, or have failed
    for fd in (ready_reader, go_writer):
        os.close(fd)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def _measure_in_child(
    run: Callable[[], array[int]], file: IO[bytes], errors: IO[bytes]
) -> NoReturn:
    """Measure, write the latencies into the file, and end the process."""
    code = 1
    try:
        file.write(run().tobytes())
        file.flush()
        code = 0
    except Exception as error:
        errors.write(f"{type(error).__name__}: {error}\n".encode())
        errors.flush()
    finally:
        os._exit(code)


def measure(
    client: str, address: str, operation: str, seconds: float, seed: int, ready: int, go: int
) -> array[int]:
    """Open the store, wait for the other processes, and return the latency of each call."""
    script = script_of(CLIENTS[client](address), operation)
    random.Random(seed).shuffle(script)
    for call, key in script[:WARM_UP_CALLS]:
        call(key)
    os.close(ready)
    os.read(go, 1)  # until the driver closes its end
    samples = array("Q")
    if operation == "fill":
        for call, key in script:
            call(key)
        return samples
    add = samples.append
    until = perf_counter_ns() + int(seconds * 1e9)
    for call, key in cycle(script):
        began = perf_counter_ns()
        call(key)
        ended = perf_counter_ns()
        add(ended - began)
        if ended > until:
            break
    return samples


def read_samples(files: list[IO[bytes]]) -> list[int]:
    """Return the latencies of all processes, sorted."""
    samples = array("Q")
    for file in files:
        file.seek(0)
        samples.frombytes(file.read())
    return sorted(samples)


def summarize(samples: list[int]) -> dict[str, int]:
    """Return the median, the 99.9th percentile and the worst of sorted latencies, and their
    number."""
    if not samples:
        return {"calls": 0}
    count = len(samples)
    return {
        "calls": count,
        "median_ns": samples[count // 2],
        "p999_ns": samples[min(count - 1, count * 999 // 1000)],
        "worst_ns": samples[-1],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
