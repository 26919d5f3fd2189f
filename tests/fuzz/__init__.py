"""The HTTP engine in memory, beside h11: what is generated, how it is compared, and the fuzzer.

memory.py     a worker's Service with connections whose other end is a list of bytes
grammar.py    requests by a grammar, and what accidents make of them
reference.py  what h11 reads in the same bytes, and where the two may differ
trial.py      one input in every way that it can arrive; a Finding is a bug of somebody
__main__.py   trials for so many seconds: scripts/fuzz
"""
