"""The limits of the HTTP layer, as they follow from the settings."""

from prefork.config import Config
from prefork.worker.http_worker import http_limits


def test_requests_of_asgi_apps_have_a_time_of_their_own() -> None:
    config = Config(timeout=3.0, request_timeout=None)
    assert http_limits(config, streams_body=True).request is None
    assert http_limits(config, streams_body=False).request == 3.0


def test_what_has_no_limit_of_its_own_has_that_of_the_head() -> None:
    limits = http_limits(Config(limit_line=None, limit_headers=None), streams_body=True)
    assert (limits.line, limits.headers, limits.header_size) == (32768, 32768, 32768)
    limits = http_limits(Config(limit_line=100, limit_headers=5), streams_body=True)
    assert (limits.line, limits.headers) == (100, 5)
