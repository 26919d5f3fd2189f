"""Runs the load generator in a process of its own: it warms a server up, then measures one window.

The process takes a `Job` as JSON in its argument and prints a `Measurement` as JSON. It reads the
server's CPU time itself, directly before and after the window, so that requests and CPU time belong
to the same seconds.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace

from .answer import request_once
from .connect import BadAnswerError
from .generator import Generator, Sample
from .loads import LOADS, Load
from .results import Measurement
from .usage import cpu_ns, pss_bytes

GRACE_SECONDS = 30.0


class ClientError(Exception):
    """The generator failed; the message is the reason."""


@dataclass(frozen=True)
class Job:
    """One measurement to make.

    `load` is the name of a load. `pid` is the root of the server's process tree. `core` is the CPU
    of the generator. `warmup` and `seconds` are times in seconds.
    """

    load: str
    port: int
    pid: int
    core: int
    connections: int
    warmup: float
    seconds: float


def measure(job: Job) -> Measurement:
    """Run `job` in a new process and return its measurement.

    The process is killed at a timeout and at an interrupt. Raises ClientError.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"{__package__}.client", json.dumps(asdict(job))],
            capture_output=True,
            text=True,
            check=True,
            start_new_session=True,
            timeout=job.warmup + job.seconds + GRACE_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise ClientError(error.stderr.strip().rpartition("\n")[2]) from None
    except subprocess.TimeoutExpired as error:
        raise ClientError(f"the generator hung for {error.timeout:g} s") from None
    return Measurement(**json.loads(done.stdout))


def _run_job(job: Job, load: Load) -> Measurement:
    """Warm up, measure one window, and return its measurement."""
    generator = Generator(job.port, load, request_once(job.port, load))
    try:
        generator.run(job.warmup)
        before = cpu_ns(job.pid)
        sample = generator.run(job.seconds)
        used = cpu_ns(job.pid) - before
        if not sample.latencies:
            raise BadAnswerError(f"not one answer within {job.seconds:g} s")
        return _to_measurement(sample, used, pss_bytes(job.pid))
    finally:
        generator.close()


def _to_measurement(sample: Sample, used: int, memory: int) -> Measurement:
    latencies = sample.latencies
    return Measurement(
        requests=len(latencies),
        elapsed_ns=sample.elapsed_ns,
        cpu_ns=used,
        p50_ns=latencies[len(latencies) // 2],
        p99_ns=latencies[len(latencies) * 99 // 100],
        max_ns=max(latencies[-1], sample.oldest_wait_ns),
        reconnects=sample.reconnects,
        starved=sample.starved,
        generator_ns=sample.cpu_ns,
        memory_bytes=memory,
    )


def main(argument: str) -> None:
    """Run the job in `argument` (JSON) and print the measurement; exit with 1 and a reason."""
    job = Job(**json.loads(argument))
    load = replace(LOADS[job.load], connections=job.connections)
    os.sched_setaffinity(0, {job.core})
    gc.disable()  # a collection would look like a slow answer of the server
    try:
        print(json.dumps(asdict(_run_job(job, load))))
    except (BadAnswerError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
