"""The kernel's count of processes that it killed for lack of memory in our cgroup."""


def out_of_memory_kills() -> int | None:
    """How many so far (cgroup v2 memory.events); None when it cannot be told."""
    try:
        with open("/proc/self/cgroup") as file:
            own = next(line for line in file if line.startswith("0::"))
        path = own.split("::", 1)[1].strip()
        with open(f"/sys/fs/cgroup{path}/memory.events") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return None
