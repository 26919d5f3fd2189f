"""HTTP/1.1 and WebSocket on asyncio transports (RFC 9110, 9112, 6455).

This package knows requests, responses and messages, not app interfaces.

The connection of a client:

connection.py           from bytes to requests, from responses to the next request
counting_connection.py  the same with limits on the number of requests
pipeline.py             requests that wait behind another one, bytes that are not parsed yet
base_connection.py      phases and their deadlines, slow clients, the ways to end
flow_control.py         writers that wait for a slow client, and how long they do
transport.py            what asyncio's transports do not offer: delivery, low-water mark, reset
peer.py                 addresses and TLS of the other end
connection_cache.py     what an app interface keeps of a connection
pending_connections.py  accepted connections whose first request has not arrived
proxy_protocol.py       the header that a TCP proxy sends first

Requests:

reader.py               llhttp's callbacks: makes requests of bytes
reader_pool.py          readers that connections borrow while they have something to read
validation.py           decides which requests are refused, and with which status
request.py              the head of a request
head_cache.py           heads that were parsed before, by the bytes of a request
field_cache.py          header fields that were parsed before, whatever the request line
forwarded.py            Forwarded and X-Forwarded-*: what proxies say about a request
trailing_data.py        bytes behind a request for a WebSocket, until the app has decided

Bodies of requests:

body.py                 a streamed body, and a small one that came with its head
body_progress.py        how much of a body has arrived, how fast, with how much framing
spool.py                a body that is kept until it is complete, in memory or on disk
spool_disk.py           files of bodies, and how much they may hold together
buffer_pool.py          the memory for bodies
bulk_receiver.py        receives the rest of a large body without the parser

Responses:

exchange.py             one request and its response: what it means, and what a sink must do
http1_sink.py           how HTTP/1.1 frames a response
response_head.py        heads of responses: status lines, header fields, Date
response_files.py       sends files as bodies, whatever the framing
sendfile.py             sends files by sendfile(2)

WebSockets:

websocket_handshake.py  validates and answers a request for a WebSocket
websocket.py            an open WebSocket: messages, pings, back-pressure, closing

The worker:

server_state.py         what all connections share: settings, caches, drain, the tick
clock.py                the coarse clock, and the deadlines that follow from it
counters.py             what requests leave behind for the statistics
load.py                 the load of a worker as one number that its siblings read
limits.py               the settings of HTTP: sizes and times
tick.py                 the seconds between two ticks
"""
