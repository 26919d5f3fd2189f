"""The app that gunicorn serves while its stash is measured: it answers with the stash's socket."""

import os

from gunicorn.dirty import DirtyApp


class Idle(DirtyApp):
    """An app for the dirty workers, without which gunicorn has no stash."""

    def init(self):
        """Do nothing: only the stash is used."""

    def __call__(self, action, *args, **kwargs):
        """Answer nothing."""

    def close(self):
        """Do nothing."""


def app(_environ, start_response):
    """Answer with the path of the stash's socket."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["GUNICORN_DIRTY_SOCKET"].encode()]
