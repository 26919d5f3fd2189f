"""WebSockets (RFC 6455).

websocket_handshake.py  validates and answers a request for a WebSocket
websocket.py            an open WebSocket: messages, pings, back-pressure, closing
"""
