"""Show a text in the pager of the operator, where there is a terminal.

Design
------
- **The choice is that of git** (git-var(1), GIT_PAGER; git(1), ``core.pager``): ``$PAGER``, else
  ``less``; ``cat`` or an empty text means no pager. LESS gets ``FRX`` unless it is set: less then
  ends by itself when the text has room on the screen, passes colours on, and leaves the text there.
  Rejected: ``pydoc.pager``, which starts ``less`` without ``-R``, so colours become escapes.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys

from prefork.cli.output.output_streams import original_stream


def show_text(text: str) -> None:
    """Print the text: in the pager where stdin and stdout are a terminal, else as it is.

    Where the pager cannot be started, the text is printed without it.
    """
    command = _pager_command() if sys.stdin.isatty() and sys.stdout.isatty() else []
    if not command or not _run_pager(command, text):
        # The text is made printable already, and its colours are escapes.
        out = original_stream(sys.stdout)
        encoding = out.encoding or "utf-8"
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()


def _pager_command() -> list[str]:
    """Return the words of the command; empty: no pager."""
    wanted = os.environ.get("PAGER")
    if wanted is None:
        return ["less"] if shutil.which("less") else []
    try:
        words = shlex.split(wanted)
    except ValueError:  # a quote is not closed
        return []
    return [] if words == ["cat"] else words


def _run_pager(command: list[str], text: str) -> bool:
    """Return whether the pager was started. It has ended, whatever its exit code is."""
    environ = {"LESS": "FRX", "LV": "-c", **os.environ}
    # Ctrl-C reaches both processes and is for the pager, which may go on. The handler stands before
    # the pager runs, and it is no SIG_IGN, which the pager would inherit (execve(2)).
    before = signal.signal(signal.SIGINT, lambda _signum, _frame: None)
    try:
        try:
            pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
        except OSError:  # there is no such program
            return False
        pager.communicate(text.encode(errors="backslashreplace"))
    finally:
        signal.signal(signal.SIGINT, before)
    return True
