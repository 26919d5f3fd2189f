"""HTTP/1.1 and WebSocket on an asyncio transport (RFC 9110, 9112, 6455).

Knows requests and messages, not app interfaces.

server_state.py     what all connections of a worker share: settings, clock, drain, counters
connection.py  bytes in: one client, its parser and its pipeline
pipeline.py    below it: the requests that wait, and bytes that are not read yet
channel.py     below it: phases and their deadline, slow readers, the ways to end
counting_connection.py    the same, where requests are counted
exchange.py    one request, and the one way to answer it
reader.py      bytes into requests, by llhttp's callbacks
validation.py       which requests are refused, and with which status
request.py     heads of requests, and which of them are remembered
body.py        a request's body, streamed
spool.py       a request's body, kept in memory or on disk until all has arrived
spool_disk.py  what bodies on disk may hold, and where they are
sendfile.py    a file to a client, past Python
response_head.py        heads of responses: status lines, fields, Date
websocket_handshake.py   a request for a WebSocket, judged and answered
websocket.py   an open WebSocket: messages, pings, closing
transport.py   what asyncio's transports do not offer
"""
