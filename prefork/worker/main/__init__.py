"""``main(listener)``: apps that accept connections themselves, plain or async.

main_detector.py     detect such an app
main_service.py      serve such an app
socket_app.py        call main, and end it when the worker is to stop
app_listener.py      the listening socket that main gets
counted_listener.py  count what main accepts, and share connections fairly
loop_server.py       asyncio and uvloop servers on such a listener
loop_heartbeat.py    the heartbeat of a main that runs in an event loop
"""
