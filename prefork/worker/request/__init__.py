"""Facts about a request that the server adds, for WSGI and ASGI alike.

proxy_headers.py  client, scheme, host and prefix, as trusted proxies report them
tls_info.py       the TLS connection and the client's certificate
request_id.py     ids of requests
"""
