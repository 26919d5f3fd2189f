"""HTTP/1.1 and WebSocket on asyncio transports (RFC 9110, 9112, 6455).

This package knows requests, responses and messages, not app interfaces.

http1/                  HTTP/1.1: its connection, its parser, and how it frames a response
websocket/              the opening handshake of a WebSocket, and an open one

The connection of a client, whatever its protocol:

protocols.py            the table of protocols, by ALPN name
served_protocols.py     makes the connection of a client, in the protocol that it chose
movable_connection.py   what a protocol offers so that another worker can serve a client
flow_control.py         writers that wait for a slow client, and how long they do
transport.py            what asyncio's transports do not offer: delivery, low-water mark, reset
peer.py                 addresses and TLS of the other end
connection_cache.py     what an app interface keeps of a connection
pending_connections.py  accepted connections whose first request has not arrived
proxy_protocol.py       the header that a TCP proxy sends first

Requests:

request.py              the head of a request
validation.py           decides which requests are refused, and with which status
forwarded.py            Forwarded and X-Forwarded-*: what proxies say about a request

Bodies of requests:

body.py                 a streamed body, and a small one that came with its head
spool.py                a body that is kept until it is complete, in memory or on disk
spool_disk.py           files of bodies, and how much they may hold together
buffer_pool.py          the memory for bodies

Responses:

exchange.py             one request and its response: what it means, and what a sink must do
answered_exchange.py    a request that was answered without an exchange, as the log sees it
app_call.py             a call of the app, as far as it can be ended from outside
response_head.py        heads of responses: status lines, header fields, Date
response_files.py       sends files as bodies, whatever the framing

The worker:

server_state.py         what all connections share: settings, drain, the tick
clock.py                the coarse clock, and the deadlines that follow from it
counters.py             what requests leave behind for the statistics
load.py                 the load of a worker as one number that its siblings read
limits.py               the settings of HTTP: sizes and times
tick.py                 the seconds between two ticks
"""
