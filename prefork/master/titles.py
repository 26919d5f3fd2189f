"""Process titles: ``prefork: master [web] running gen 3, 4/4 ready``."""

from setproctitle import getproctitle, setproctitle

OFF = "off"


class Titles:
    """``word`` is the first word of all titles, ``name`` the app's name."""

    def __init__(self, word: str, name: str) -> None:
        self._word = word
        self._name = name
        getproctitle()  # the first call is the slow one

    def master(self, status: str) -> None:
        """Of the master, after each change."""
        if self._word != OFF:
            setproctitle(f"{self._word}: master [{self._name}] {status}")

    def guard(self) -> None:
        """Of the process that ends programs when the master was killed."""
        if self._word != OFF:
            setproctitle(f"{self._word}: guard [{self._name}]")

    def watcher(self) -> None:
        """Of the process that sees files change, which calls it."""
        if self._word != OFF:
            setproctitle(f"{self._word}: watcher [{self._name}]")

    def worker(self, slot: int, generation: int, state: str) -> None:
        """Of the worker that calls it."""
        if self._word != OFF:
            setproctitle(f"{self._word}: worker {slot} [{self._name}] {state} gen {generation}")

    def writer(self) -> None:
        """Of the log writer that calls it."""
        if self._word != OFF:
            setproctitle(f"{self._word}: log writer [{self._name}]")

    def status_server(self) -> None:
        """Of the status server that calls it."""
        if self._word != OFF:
            setproctitle(f"{self._word}: status [{self._name}]")
