"""Users with a session cookie. As a browser would, they repeat a request whose connection broke."""

import http.client
import time
from collections.abc import Callable
from http.cookies import SimpleCookie

from tests.live.harness import PATIENCE


class LostLoginError(AssertionError):
    """A user was not logged in any more, or a visit that was counted is not."""


class SessionClient:
    """One user, with one connection that is kept.

    ``is_away``: tells whether the store is away just now; answers of an app without its store
    (status 500) are asked for again then.
    """

    def __init__(self, port: int, user: str, is_away: Callable[[], bool] = lambda: False) -> None:
        self.user = user
        self.requests = 0
        self.repeated = 0
        self._port = port
        self._is_away = is_away
        self._cookies: dict[str, str] = {}
        self._connection = self._connect()
        self._visits = 0

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def log_in(self) -> None:
        """Log in, with no visit so far."""
        assert self.get(f"/login?user={self.user}") == "welcome"
        self._visits = 0

    def visit(self) -> None:
        """Have a visit counted in the session. Raises LostLoginError."""
        before = self.repeated
        answer = self.get("/visit")
        # A request whose worker died before it answered may have been counted, or not.
        possible = range(self._visits + 1, self._visits + 2 + self.repeated - before)
        if answer not in [f"{self.user} {visits}" for visits in possible]:
            raise LostLoginError(f"{self.user} with {self._visits} visits got {answer!r}")
        self._visits = int(answer.split()[1])

    def look(self) -> None:
        """Look whether the login and the visits are still there. Raises LostLoginError."""
        answer = self.get("/me")
        if answer != f"{self.user} {self._visits}":
            raise LostLoginError(f"{self.user} with {self._visits} visits got {answer!r}")

    def get(self, path: str) -> str:
        """Return the answer to a request, which is repeated when its connection broke."""
        deadline = time.monotonic() + PATIENCE
        while True:
            was_away = self._is_away()
            try:
                status, answer = self._ask(path)
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
                self._connection.close()
                self.repeated += 1
                continue
            if status == 200:
                self.requests += 1
                return answer
            if not (status >= 500 and (was_away or self._is_away())):
                raise LostLoginError(f"{self.user} got {status} for {path}: {answer[:200]}")
            assert time.monotonic() < deadline, f"{path} got {status} for too long"
            self.repeated += 1

    def _ask(self, path: str) -> tuple[int, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        self._connection.request("GET", path, headers={"Cookie": cookies} if cookies else {})
        answer = self._connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        for field in answer.headers.get_all("Set-Cookie", []):
            for name, cookie in SimpleCookie(field).items():
                self._cookies[name] = cookie.value
                if cookie["max-age"] == "0" or not cookie.value:
                    del self._cookies[name]
        return answer.status, body
