"""``--tls-watch``: use changed certificate files for new connections, without a reload.

Each worker looks at the files once a second by their inode, time and size, which costs
microseconds. Connections that exist keep their certificate. Two files never change at the same
instant, so the worker reads them when they have been the same for one look.

Design
------
- **Without this option a new certificate takes a reload,** which always replaces the workers: the
  master cannot know that only certificates changed.
- **After such a change each worker has session tickets of its own,** since the certificates are no
  longer loaded by the master for all workers. A client that resumes at another worker may have to
  do a full handshake.
"""

import asyncio
import logging
import os

from prefork.errors import PreforkError
from prefork.tls.credentials import Credentials, read_file_stamps
from prefork.worker import app_api

CHECK_INTERVAL = 1.0
"""Seconds between two looks at the files."""


class CertificateReloader:
    """Watches the certificate files of one worker as long as its loop runs."""

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
        """Begin to watch. The worker in slot 0 warns of files that the workers' user may not
        read."""
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
