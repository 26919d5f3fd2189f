"""The verbs of the process manager.

verb_table.py      the table of the verbs: their functions, help texts and arguments
change.py          stop, delete, reload, scale, signal, and verbs without a goal to wait for
restart.py         restart: a reload where that is enough, otherwise a new master
start_command.py   start: decides between a file, a new app and an app of the list
start_file.py      start FILE.toml and check: what the file asks for, compared with what runs
launch.py          start one app in the background and report the outcome
parallel_tasks.py  run tasks in child processes, in an order, several at a time
save.py            save and resurrect: the list of running apps, kept in a file
systemd_unit.py    startup, unstartup and init: a systemd unit and a sample settings file
inspect.py         list, show, why, ping, events, env, report: verbs that change nothing
logs.py            logs: print and follow the records of several logs
monit.py           monit: the live view and its keys
completion.py      completion: scripts for bash, zsh and fish
"""
