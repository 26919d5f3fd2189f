"""What runs only in children: boot, load the app, accept, serve one interface, drain, leave.

boot.py       a worker's life from top to bottom
load.py       import the app
interface.py  tell WSGI, ASGI and main(listener) apart
current.py    what the app may ask: worker(), ready(), stopping()
line.py       the worker's line to its master
accept.py     take connections off the shared listeners
serve.py      an HTTP worker: loop, ticks, drain
wsgi.py       WSGI (PEP 3333) in the loop's thread
environ.py    WSGI: environ
file_wrapper.py      WSGI: wsgi.file_wrapper
wsgi_threads.py      WSGI in a pool of threads
threads.py    threads that work for the loop, and the way back into it
asgi.py       ASGI: http
scope.py      ASGI: scope
asgi_extensions.py   ASGI: early hints, path-send, trailers
eager.py      tasks that run at once
lifespan.py   ASGI: lifespan
drain.py      ASGI: how calls end while the worker drains
plain.py      main(listener), plain or async
app_listener.py      main: the listening socket that the app gets
loop_server.py       main: servers of event loops on it
main_beat.py  main: the heartbeat in an event loop
"""
