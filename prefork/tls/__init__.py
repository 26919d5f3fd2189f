"""TLS: load certificates and keys into contexts, and describe encrypted connections.

alerts.py                send the alert of a failed handshake
certificate.py           read names and validity from the server's certificate
certificate_matching.py  choose a certificate by the host name that a client asks for
certificate_plan.py      the TLS settings, validated, without the contents of files
connection_info.py       version, cipher and certificates of an encrypted connection
credentials.py           load certificates and keys, and detect changes of their files
distinguished_name.py    distinguished names as text
secret_variables.py      the values of secret environment variables that were removed
"""
