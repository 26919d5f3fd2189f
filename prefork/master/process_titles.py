"""Process titles: ``prefork: master [web] running gen 3, 4/4 ready``."""

from contextlib import suppress

from setproctitle import getproctitle, setproctitle

from prefork.printable import printable_line

TITLES_OFF = "off"


class ProcessTitles:
    """``word`` is the first word of all titles, ``name`` the app's name."""

    def __init__(self, word: str, name: str) -> None:
        self._word = word
        self._name = name
        # The first call is the slow one. It also decodes the command line, which may be no UTF-8.
        with suppress(UnicodeDecodeError):
            getproctitle()

    def set_master(self, status: str) -> None:
        """Of the master, after each change."""
        self._set(f"master [{self._name}] {status}")

    def set_guard(self) -> None:
        """Of the process that ends programs when the master was killed."""
        self._set(f"guard [{self._name}]")

    def set_watcher(self) -> None:
        """Of the process that sees files change, which calls it."""
        self._set(f"watcher [{self._name}]")

    def set_worker(self, slot: int, generation: int, state: str) -> None:
        """Of the worker that calls it."""
        self._set(f"worker {slot} [{self._name}] {state} gen {generation}")

    def set_log_writer(self) -> None:
        """Of the log writer that calls it."""
        self._set(f"log writer [{self._name}]")

    def set_status_process(self) -> None:
        """Of the status server that calls it."""
        self._set(f"status [{self._name}]")

    def _set(self, title: str) -> None:
        """The title may be read by every user of the machine (proc(5), ``cmdline``). setproctitle
        raises ValueError for NUL and UnicodeEncodeError for lone surrogates, which end a master."""
        if self._word != TITLES_OFF:
            setproctitle(printable_line(f"{self._word}: {title}"))
