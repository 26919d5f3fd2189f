"""--tls-watch: a worker that sees changed certificate files shows the new ones from then on.

Connections that exist keep what they have. The files are looked at once a second by their inode,
time and size, which costs microseconds. Two files are never changed at once, so they are read when
they have been the same for one look.
"""

import asyncio
import logging
import os

from prefork.errors import PreforkError
from prefork.tls.credentials import Credentials, read_file_stamps
from prefork.worker import app_api

CHECK_INTERVAL = 1.0
"""Seconds between two looks."""


class CertificateReloader:
    """Runs as long as the loop does."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, credentials: Credentials, log: logging.Logger
    ) -> None:
        self._loop = loop
        self._credentials = credentials
        self._log = log
        self._files = credentials.plan.file_paths()
        self._in_use = credentials.file_stamps
        self._seen = self._in_use

    def start(self) -> None:
        """Begin to watch; one worker for all complains about what they may not read."""
        locked = [path for path in self._files if not os.access(path, os.R_OK)]
        if locked and app_api.worker().slot == 0:
            self._log.warning(
                "tls-watch: the workers' user may not read %s; a change shows after a reload",
                ", ".join(locked),
            )
        self._check_files()

    def _check_files(self) -> None:
        self._loop.call_later(CHECK_INTERVAL, self._check_files)
        now = read_file_stamps(self._files)
        if now == self._seen and now != self._in_use:
            self._in_use = now
            self._reload()
        self._seen = now

    def _reload(self) -> None:
        try:
            self._credentials.reload()
        except PreforkError as error:
            self._log.error("tls-watch: going on with the old certificate: %s", error)
            return
        for remark in self._credentials.warnings:
            self._log.warning("%s", remark)
        self._log.info("tls-watch: new connections get the new certificate")
