"""The verbs of the process manager. ``prefork/wire/verb_table.py`` declares them.

run_verb.py        which words of the command line are verbs; carries out the verb
verb_parser.py     the parser of a verb
verb_reference.py  the table of the verbs in README.md
ask_masters.py     sends a verb to masters and prints their answers, as most verbs do
change.py          stop, delete, reload, signal: verbs that take more than one request
restart.py         restart: a reload where that is enough, otherwise a new master
start_command.py   start: decides between a file, a new app and an app of the list
start_file.py      start FILE.toml and check: what the file asks for, compared with what runs
launch.py          start one app in the background and report the outcome
master_start.py    become the master of an app, in a child process of the command
parallel_tasks.py  run tasks in child processes, in an order, several at a time
save.py            save and resurrect: the list of running apps, kept in a file
systemd_unit.py    startup, unstartup and init: a systemd unit and a sample settings file
inspect.py         list, show, events, report: verbs that change nothing
logs.py            logs: print and follow the records of several logs
monit.py           monit: the live view and its keys
completion.py      completion: scripts for bash, zsh and fish
"""
