"""Which worker accepts a new connection, and how connections move between workers.

accept_events.py    wakeups of a worker: that connections wait, at which endpoints, and how many
accept_policy.py    decide whether this worker or a sibling accepts
accepted_socket.py  a minimal socket for a descriptor from accept(2)
acceptor.py         accept connections, one at a time, when the policy allows it
connector.py        give a connection its protocol object and its transport
endpoints.py        listeners, and the handshakes before HTTP: PROXY header and TLS
handoff.py          hand open connections of an overloaded worker off to others
rebalance.py        --rebalance: close connections of a worker that has too many
"""
