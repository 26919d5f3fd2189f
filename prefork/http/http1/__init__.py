"""HTTP/1.1 (RFC 9112): from the bytes of a client to exchanges, and from exchanges to bytes.

http1_protocol.py       the entry of the table of protocols: makes connections
http1_state.py          what the HTTP/1.1 connections of a worker share: readers and caches

The connection:

connection.py           from bytes to requests, from responses to the next request
plain_connection.py     the same with compiled code for plain requests
counting_connection.py  the same with limits on the number of requests
pipeline.py             requests that wait behind another one, bytes that are not parsed yet
base_connection.py      phases and their deadlines, slow clients, the ways to end

Reading:

reader.py               llhttp's callbacks: makes requests of bytes
reader_pool.py          readers that connections borrow while they have something to read
body_progress.py        how much of a body has arrived, how fast, with how much framing
bulk_receiver.py        receives the rest of a large body without the parser
trailing_data.py        bytes behind a request for a WebSocket, until the app has decided

Writing:

http1_sink.py           how HTTP/1.1 frames a response
sendfile.py             sends files by sendfile(2)
"""
