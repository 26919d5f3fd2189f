"""An app whose requests start processes; served as WSGI, as ASGI and as ``main(listener)``.

``GET /NAME`` is answered with what the function of that name returns. With ASGI it is called in the
event loop, with ``GET /NAME?later`` after the call has waited once, with ``GET /NAME?thread`` in a
thread of the executor.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

FORK = multiprocessing.get_context("fork")


def _square(number):
    return number * number


def pool():
    with FORK.Pool(2) as workers:
        return str(workers.map(_square, [1, 2, 3]))


def executor():
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as workers:
        return str(list(workers.map(_square, [1, 2, 3])))


def terminate():
    reader, writer = os.pipe()
    process = FORK.Process(target=_say_and_sleep, args=(writer,))
    process.start()
    os.read(reader, 1)
    process.terminate()
    process.join()
    os.close(reader)
    os.close(writer)
    return str(process.exitcode)


def _say_and_sleep(writer):
    os.write(writer, b".")
    time.sleep(3600)


def terminate_at_once():
    """TERM comes while the child is being made, before any code has run in it."""
    codes = set()
    for _ in range(20):
        process = FORK.Process(target=time.sleep, args=(3600,))
        process.start()
        process.terminate()
        process.join()
        codes.add(process.exitcode)
    return str(codes)


def chained():
    """A child with a handler of the app that calls the one before it."""
    before = signal.getsignal(signal.SIGTERM)

    def handle(signum, frame):
        before(signum, frame)

    signal.signal(signal.SIGTERM, handle)
    return terminate()


def daemon():
    """A child that the worker ends when it exits itself."""
    FORK.Process(target=time.sleep, args=(3600,), daemon=True).start()
    return "started"


def _fork():
    """The child's exit code is the body of the parent's answer; None: we are in the child."""
    pid = os.fork()
    if pid == 0:
        return None
    _, status = os.waitpid(pid, 0)
    return str(os.waitstatus_to_exitcode(status))


def returns():
    return _fork() or "from the child"


def exits():
    code = _fork()
    if code is None:
        sys.exit(3)
    return code


def raises():
    code = _fork()
    if code is None:
        raise ValueError("in the child")
    return code


def lingers():
    """A child that outlives the request, until the fifo is closed."""
    if os.fork() == 0:
        with open("gate") as gate:
            gate.read()
        os._exit(0)
    return "left a child behind"


def state():
    """The signals and the descriptors that a child finds."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        found = {"signals": _signals(), "files": _files(), "stop": bool(_stop_in_child())}
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        text = told.read()
    os.wait()
    return text


def _stop_in_child():
    import prefork

    return prefork.stopping()


def _files():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return found


def _signals(path="/proc/self/status"):
    with open(path) as status:
        lines = [line.split() for line in status if line.startswith("Sig")]
    return {line[0].rstrip(":"): line[1] for line in lines}


SHOW = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
PYTHON = "import subprocess; subprocess.run(['sh', '-c', \"" + SHOW + '"], check=True)'


def subprocesses():
    """The signals that programs find blocked or ignored, by the way they are started."""
    return json.dumps(
        {
            "shell": subprocess.check_output(["sh", "-c", SHOW], text=True),
            "preexec": subprocess.check_output(
                ["sh", "-c", SHOW], text=True, preexec_fn=lambda: None
            ),
            "popen": os.popen(SHOW).read(),
            "python": subprocess.check_output([sys.executable, "-c", PYTHON], text=True),
            "at import": AT_IMPORT,
        }
    )


def pid():
    return str(os.getpid())


AT_IMPORT = subprocess.check_output(["sh", "-c", SHOW], text=True)


def wsgi(environ, start_response):
    body = globals()[environ["PATH_INFO"][1:]]().encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def generator(environ, start_response):
    start_response("200 OK", [])
    yield globals()[environ["PATH_INFO"][1:]]().encode()


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    call = globals()[scope["path"][1:]]
    if scope["query_string"] == b"thread":
        body = await asyncio.to_thread(call)
    else:
        if scope["query_string"] == b"later":
            await asyncio.sleep(0)
        body = call()
        if scope["query_string"] == b"suspends":
            await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body.encode()})


def main(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            _answer(connection)


def returning(listener):
    """A child leaves the loop, and so main."""
    while True:
        connection, _ = listener.accept()
        me = os.getpid()
        with connection:
            _answer(connection)
            if os.getpid() != me:
                return


def _answer(connection):
    line = connection.recv(65536).split(b" ")
    body = globals()[line[1].decode()[1:]]().encode()
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body)


async def async_main(listener):
    async def answer(reader, writer):
        line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")
        body = globals()[line[1].decode()[1:]]().encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()
