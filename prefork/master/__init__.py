"""The master: one process per app. It waits for events, asks the pool, and carries out its orders.

The master has one thread and one loop with one wait. It never runs code of the app.

    autoscale.py            one reading a second, and the request that follows from it
    autoscale_readings.py   the readings: pool, accept queues, scoreboard, kernel
    auxiliary.py            a process beside the workers, and its successors
    child_setup.py          what a new child closes, and how it starts its work
    children.py             the worker processes: spawned, signalled, read and reaped
    control_server.py       the control socket: sessions, goals and events
    death_record.py         the last deaths of workers, for prefork why
    figures_reader.py       the reports of programs on their requests
    figures_writer.py       the figures that a program reports, in its row
    file_watch.py           the file watcher (--watch) as the master sees it
    generation.py           the settings of a start or reload, resolved on this machine
    leader_writer.py        the name of the leader, where workers and the next master read it
    master.py               the loop: signals, facts, orders, reload, end
    master_logs.py          the logs of the master and of its workers
    master_record.py        the state of a master as one declared structure
    memory_limit.py         the memory limit (--max-memory)
    output_excerpt.py       the first error and the last lines of a program's output
    output_pipes.py         the pipes for the output of workers, and the log writer
    owned_ports.py          whether programs own their ports, so that they cannot be rolled
    planned_restarts.py     restarts by the clock, by changed files, by memory
    preload_check.py        why a program does not load the Node preload
    process_titles.py       the titles of all processes
    program.py              what is known of one program
    program_failure.py      why a program failed, as a text
    program_readiness.py    when a program is ready, from looks at its sockets
    program_stop.py         the stop signal of a program, to its servers first
    programs.py             workers that are programs
    ready_messages.py       facts from the messages of workers
    registration.py         the entry in the list of apps
    reload_preparation.py   the settings of a reload, read, checked and made a generation
    restart_schedule.py     when --cron is due
    scoreboard_writer.py    the master's part of the scoreboard
    status_process.py       the status server as the master sees it
    state_dump.py           the whole state of the master as JSON
    status_report.py        the report for prefork show and plan
    status_settings.py      the settings of the status server
    stderr_relay.py         the stderr of a program on its way to a log
    verb_actions.py         what the master does for each verb
    worker_trees.py         the processes of each worker
"""
