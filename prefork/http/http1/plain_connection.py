"""A connection that has compiled code read plain requests, and mostly answer them, too.

The compiled reader (_speed/head_reader.pyx) makes the head of a request that is plain and whole.
A compiled app interface (PlainCalls in http/server_state.py) answers it, without an exchange as
long as nothing unusual happens: ``take_turn`` makes one afterwards. Without such an interface the
request gets an exchange at once. All other bytes are those of connection.py, and so are all bytes
in the pure build, which does not use this class.
"""

from time import monotonic

from prefork import _speed
from prefork.errors import ClientError
from prefork.http.answered_exchange import AnsweredExchange
from prefork.http.body import WholeBody
from prefork.http.exchange import Exchange
from prefork.http.http1.base_connection import IDLE, PROCESSING, SENDING
from prefork.http.http1.connection import Connection
from prefork.http.http1.http1_state import Http1State
from prefork.http.load import REQUEST
from prefork.http.peer import Addresses
from prefork.http.server_state import PlainCalls


class PlainConnection(Connection):
    """Tries the compiled reader with each piece that may be a whole request."""

    __slots__ = ("unanswered",)

    def __init__(self, http1: Http1State, addresses: Addresses | None = None) -> None:
        super().__init__(http1, addresses)
        self.unanswered: tuple[_speed.PlainHead, float] | None = None
        """A request that waits for its answer without an exchange, and when its turn came."""

    def data_received(self, data: bytes) -> None:
        """Answer a plain request; leave all other bytes to the parser. asyncio calls this."""
        if self.phase <= IDLE and self._reader.is_between_requests:
            # Nothing is in progress, so these bytes may be one whole request.
            reader, server = self.http1.plain_reader, self.server
            head = None if reader is None else reader.read(data)
            if head is not None and (not head.has_forwarding_fields or self._interpret(head)):
                if server.plain_calls is None:
                    self._start_exchange(self.make_exchange(head), server.handle)
                else:
                    self.answer_plain(head, server.plain_calls)
                return
        super().data_received(data)

    def _interpret(self, head: "_speed.PlainHead") -> bool:
        """Interpret the fields that proxies write. False: the parser's way refuses them, too, and
        can answer."""
        try:
            self.server.proxies.interpret(head, self.is_trusted())
        except ClientError:
            return False
        return True

    def answer_plain(self, head: "_speed.PlainHead", calls: PlainCalls) -> None:
        """Have a plain request answered without an exchange, unless something unusual happens.

        Does what _start_exchange and finish_exchange do. The stack report finds the request by the
        name of this function and its variables (worker/monitor/stack_report.py).
        """
        server = self.server
        load, counters = server.load, server.counters
        load.words[load.index] = load.word = load.word + REQUEST
        started_at = monotonic()
        self.unanswered = head, started_at
        size = calls.call(self, head, started_at)
        self.unanswered = None
        if size < 0:
            if self.current is not None:
                server.active_connections.add(self)
            return
        load.words[load.index] = load.word = load.word - REQUEST
        counters.response_times[calls.status].append(monotonic() - started_at)
        counters.body_bytes_sent += size
        if server.log_access is not None:
            answered = (self, head, self.sink, started_at, calls.status, calls.response, size)
            if server.log_plain is not None:
                server.log_plain(*answered)
            else:
                server.log_access(AnsweredExchange(*answered))
        counters.requests = requests = counters.requests + 1
        if requests >= server.next_callback_at:
            server.run_callbacks(self)
        if not head.keep_alive:
            self._close(lingering=False)
        elif self.close_requested or not self.flow.is_writable:
            self._continue()
        else:
            self.phase = IDLE
            self.deadline = server.clock.idle_deadline

    def take_turn(self) -> Exchange | None:
        """Return the exchange that is being answered; make it, if there is none for a plain
        request. The app calls this, from its own call."""
        if self.unanswered is not None and self.current is None:
            (head, started_at), self.unanswered = self.unanswered, None
            self.current = exchange = self.make_exchange(head, started_at)
            exchange.app_called_at = self.server.clock.now
            if self.phase != SENDING:
                self.phase = PROCESSING
        return self.current

    def make_exchange(self, head: "_speed.PlainHead", started_at: float = 0.0) -> Exchange:
        """Return an exchange for a plain request; ``started_at``: when its turn came."""
        exchange = Exchange(self, head, self.sink)
        exchange.request_complete, exchange.started_at = True, started_at
        if head.content:
            exchange.body = body = WholeBody()
            body.data = head.content
        return exchange

    def make_answered_exchange(
        self, head: "_speed.PlainHead", started_at: float, status: int, response: bytes, size: int
    ) -> Exchange:
        """Return an exchange for a plain request that has been answered."""
        exchange = self.make_exchange(head, started_at)
        exchange.note_response(status, response, size)
        return exchange
