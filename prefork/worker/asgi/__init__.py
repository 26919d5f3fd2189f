"""ASGI 3: apps that are called once per request, with a scope and two channels of events.

asgi_detector.py    detect such an app
asgi_service.py     start and stop such an app
asgi_handler.py     start a task for each request and each WebSocket; time-outs
asgi_call.py        the base class of one call of the app
asgi_http.py        the call for an HTTP request
asgi_websocket.py   the call for a WebSocket
asgi_extensions.py  early hints, files by path, trailers
scope.py            build the scope of a request
lifespan.py         startup and shutdown events
eager_tasks.py      tasks that run up to their first wait at once
call_drain.py       end the calls of a draining worker, in three steps
"""
