"""Process titles, such as ``prefork: master [web] running gen 3, 4/4 ready``.

Design
------
- **A title says "reload failed" without the reason.** Every user of the machine may read titles
  (proc(5)), and the last line of an exception may be a password. The registry (mode 0700), the log
  and the control socket have the reason. The STATUS for systemd follows the same rule.
"""

from contextlib import suppress

from setproctitle import getproctitle, setproctitle

from prefork.printable import printable_line

TITLES_OFF = "off"
"""The value of ``--proctitle`` that leaves all titles as they are."""


class ProcessTitles:
    """Sets the titles of all processes of a master.

    ``word``: the first word of all titles (``--proctitle``). ``name``: the name of the app.
    """

    def __init__(self, word: str, name: str) -> None:
        self._word = word
        self._name = name
        # The first call is slow, so it is made before the forks. It also decodes the command line,
        # which may not be UTF-8.
        with suppress(UnicodeDecodeError):
            getproctitle()

    def set_master(self, status: str) -> None:
        """Set the title of the master, which changes with its state."""
        self._set(f"master [{self._name}] {status}")

    def set_guard(self) -> None:
        """Set the title of the process that ends programs when the master was killed."""
        self._set(f"guard [{self._name}]")

    def set_watcher(self) -> None:
        """Set the title of the calling process: the watcher of files."""
        self._set(f"watcher [{self._name}]")

    def set_worker(self, slot: int, generation: int, state: str) -> None:
        """Set the title of the calling process: a worker."""
        self._set(f"worker {slot} [{self._name}] {state} gen {generation}")

    def set_log_writer(self) -> None:
        """Set the title of the calling process: the log writer."""
        self._set(f"log writer [{self._name}]")

    def set_status_process(self) -> None:
        """Set the title of the calling process: the status server."""
        self._set(f"status [{self._name}]")

    def _set(self, title: str) -> None:
        """Set a title, with control characters escaped.

        setproctitle raises ValueError for NUL and UnicodeEncodeError for lone surrogates, either of
        which would end the master.
        """
        if self._word != TITLES_OFF:
            setproctitle(printable_line(f"{self._word}: {title}"))
