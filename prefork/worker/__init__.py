"""What runs only in children: boot, load the app, accept, serve one interface, drain, leave.

boot.py       a worker's life from top to bottom
importer.py       import the app
interface.py  tell WSGI, ASGI and main(listener) apart
app_api.py    what the app may ask: worker(), ready(), stopping()
master_channel.py       the worker's line to its master
acceptor.py     take connections off the shared listeners
http_worker.py      an HTTP worker: loop, ticks, drain
wsgi_app.py       WSGI (PEP 3333) in the loop's thread
environ.py    WSGI: environ
file_wrapper.py      WSGI: wsgi.file_wrapper
wsgi_threads.py      WSGI in a pool of threads
loop_threads.py    threads that work for the loop, and the way back into it
asgi_http.py       ASGI: http
scope.py      ASGI: scope
asgi_extensions.py   ASGI: early hints, path-send, trailers
eager_tasks.py      tasks that run at once
lifespan.py   ASGI: lifespan
call_drain.py      ASGI: how calls end while the worker drains
socket_app.py      main(listener), plain or async
app_listener.py      main: the listening socket that the app gets
loop_server.py       main: servers of event loops on it
loop_heartbeat.py  main: the heartbeat in an event loop
"""
