"""Run ``prefork``, and write each call of some of its functions to a file, with the calls above it.

Usage: python traced_master.py FILE FUNCTIONS ARGUMENTS…

``FUNCTIONS``: names such as ``prefork/master/master.py Master.reload``, one a line. A line of the
file is a JSON object: ``pid``, the name of the function, and the names of prefork's functions that
called it, the innermost last. Workers inherit the tracing by the fork.
"""

import json
import os
import sys
from types import FrameType
from typing import Any

from prefork.cli.command import main


def name_of(frame: FrameType) -> str:
    """Return file and qualified name, as in ``prefork/master/master.py Master.reload``."""
    code = frame.f_code
    _, found, file = code.co_filename.rpartition("/prefork/")
    return f"prefork/{file} {code.co_qualname}" if found else ""


def trace(path: str, wanted: set[str]) -> None:
    """Begin to write the calls of the ``wanted`` functions."""
    last_words = {each.rpartition(".")[2].rpartition(" ")[2] for each in wanted}

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or frame.f_code.co_name not in last_words:
            return
        name = name_of(frame)
        if name not in wanted:
            return
        above, caller = [], frame.f_back
        while caller is not None:
            above.append(name_of(caller))
            caller = caller.f_back
        line = json.dumps({"pid": os.getpid(), "name": name, "above": above[::-1]})
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode() + b"\n")
        os.close(fd)

    sys.setprofile(profile)


if __name__ == "__main__":
    file, functions, *arguments = sys.argv[1:]
    trace(file, set(functions.splitlines()))
    sys.exit(main(arguments))
