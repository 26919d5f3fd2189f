"""A WSGI app that answers its pid; when it is loaded it writes the pid to $BENCH_READY_FILE."""

import os

with open(os.environ["BENCH_READY_FILE"], "a") as ready_file:
    ready_file.write(f"{os.getpid()}\n")


def app(_environ, start_response):
    """Answer the pid."""
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
