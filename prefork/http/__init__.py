"""HTTP/1.1 on an asyncio transport (RFC 9110, RFC 9112). Knows requests, not app interfaces.

service.py     what all connections of a worker share: settings, clock, drain, counters
connection.py  bytes in: one client, its parser, its pipeline and its deadline
exchange.py    one request, and the one way to answer it
body.py        a request's body, streamed or spooled
head.py        heads of responses: status lines, fields, Date
"""
