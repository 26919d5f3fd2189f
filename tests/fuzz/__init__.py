"""A fuzzer of HTTP requests: prefork in memory, beside h11.

memory.py     a worker's ServerState, with connections whose other end is a list of bytes
grammar.py    generates requests by a grammar, and damages them
reference.py  reads requests with h11, and lists the differences that are allowed
plain_requests.py
              compares the compiled reader with the parser: scripts/fuzz --reader
trial.py      sends one input in all ways in which it can arrive; a difference is a Finding
__main__.py   runs trials for some seconds: scripts/fuzz
"""
