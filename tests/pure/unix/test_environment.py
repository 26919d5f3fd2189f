"""A secret that was popped is in no environment, tested on a process of its own."""

import subprocess
import sys

PROGRAM = """
import os
from prefork.unix.environment import pop_secret

def read_environment():
    with open("/proc/self/environ", "rb") as file:
        return file.read()

before = read_environment()
assert b"WORD=secret" in before
assert pop_secret("WORD") == b"secret \\xff=x"
assert pop_secret("WORD") is None
assert pop_secret("MISSING") is None
assert "WORD" not in os.environ
assert b"secret" not in read_environment()
assert len(read_environment()) == len(before)
for line in (b"OTHER=stays", b"WORDY=stays"):
    assert line in read_environment()
pid = os.fork()
if pid == 0:
    os._exit(b"secret" in read_environment())
assert os.waitpid(pid, 0)[1] == 0
seen = os.popen("env").read()
assert "secret" not in seen and "OTHER=stays" in seen
os.environb[b"NEW"] = b"secret"
assert pop_secret("NEW") == b"secret"  # it was never in that memory
"""


def test_a_popped_secret_is_in_no_environment_and_other_variables_stay() -> None:
    environ = {b"WORDY": b"stays", b"WORD": b"secret \xff=x", b"OTHER": b"stays", b"PATH": b"/bin"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
