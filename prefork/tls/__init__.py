"""The seam to OpenSSL: what the files mean, and what a finished handshake tells.

certificate_plan.py           what the settings say
credentials.py    from settings and files to a context that can shake hands; when files change
certificate.py    the names and the dates in a certificate
alerts.py         what a client gets of a handshake that failed
certificate_matching.py       which certificate a client asked for
connection_info.py          what is known of an encrypted connection and of its client
distinguished_name.py  distinguished names as text
"""
