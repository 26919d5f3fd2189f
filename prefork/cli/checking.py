"""``--check``: load the app in a throw-away process, as a worker would, and say how it went."""

import os

from prefork.config import Config
from prefork.errors import AppError, PreforkError
from prefork.master.generation import policy
from prefork.observe.log import Log
from prefork.unix.identity import look_up
from prefork.unix.process import fork
from prefork.unix.scoreboard import Scoreboard
from prefork.worker.boot import Birth, check
from prefork.worker.current import WorkerInfo


def check_app(config: Config, here: str) -> str:
    """What was found, in one line. Raises PreforkError, with the app's traceback."""
    count = policy(config).workers
    identity = look_up(config.user, config.group)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    log = Log(config.log_level, "")
    birth = Birth(
        info=WorkerInfo(0, 1, config.name or config.app.partition(":")[0]),
        config=config,
        identity=identity,
        folder=os.path.join(here, config.chdir),
        listeners=[],
        ready_fd=writer,
        life_fd=-1,
        row=Scoreboard().take(1),
        master=os.getpid(),
        log=log.logger,
        log_fd=log.fd,
        log_access=None,
        set_title=lambda _state: None,
        on_ready=lambda: None,
        reopen_logs=lambda: None,
        flush_logs=lambda: None,
    )

    def life() -> int:
        os.close(reader)
        try:
            text, code = check(birth), 0
        except PreforkError as error:
            text, code = str(error), error.exit_code
        os.write(writer, text.encode()[:65000])
        return code

    child = fork(life)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    death = child.reap()
    if death.code != 0:
        raise AppError(said or f"loading the app ended the process: {death.signal or death.code}")
    return f"{config.app}: {said}, {count} worker{'' if count == 1 else 's'}"
