"""The worker: everything that runs in a child process of the master to serve one app.

The life of a worker is in boot.py, from top to bottom: prepare the process, import the app, detect
its interface, serve until the master asks the worker to stop, drain, exit. The master imports most
of these modules before it forks, but never runs app code.

app_api.py             worker(), ready(), leader() …: the public functions of an app
app_hooks.py           --hooks: functions of the app, called in the life of a worker
app_logging.py         --log-config: the app's logging, configured before its import
background_work.py     wait for threads and for work under prefork.busy() before the exit
boot.py                the life of a worker, from the fork to its exit code
busy.py                prefork.busy(): the count of work that is no request
callable_shape.py      the arguments of a callable, and whether it is async
certificate_reload.py  --tls-watch: reload certificates whose files changed
companions.py          what accompanies a worker of any interface
end_signal.py          the signal that announces the end of the service
fork_hooks.py          make a process that the app forks a process of its own, no second worker
http_app.py            what an HTTP worker knows of the app that it serves
http_service.py        the base class of services whose apps answer HTTP requests
http_worker.py         an HTTP worker: loop, acceptor, heartbeat, drain
importer.py            import the app
interface.py           the base classes of app interfaces
interface_detection.py find the interface of an app
leadership.py          the leader: its callbacks, from the begin to the end of its term
master_channel.py      the ready pipe, the title and the scoreboard row of the worker
process_setup.py       prepare the process: signals, user, folder, environment
program_exec.py        turn a worker into a program in another language
program_service.py     serve a program in another language
selectable_flag.py     a flag that threads, tasks and select can wait for
shutdown.py            signals and the death of the master: how a worker is asked to stop
store_setup.py         where the store of the app is, for its first use
worker_context.py      what the master gives a worker at its fork

accept/                which worker accepts a connection, and how it does
asgi/                  ASGI: HTTP, WebSocket, lifespan
main/                  main(listener): the listener that the app gets
monitor/               heartbeat, statistics, watchdog, stack reports, --slow-log
request/               what both HTTP interfaces know of a request: proxies, TLS, its id
wsgi/                  WSGI (PEP 3333), in the loop's thread or in a pool of threads
"""
