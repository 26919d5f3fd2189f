"""The verbs of the process manager. ``prefork/wire/verb_table.py`` declares them.

run_verb.py        which words of the command line are verbs; carries out the verb
verb_parser.py     the parser of a verb
verb_reference.py  the table of the verbs in the manual
ask_masters.py     sends a verb to masters and prints their answers, as most verbs do
change.py          stop, delete, reload, signal: verbs that take more than one request
restart.py         restart: a reload where that is enough, otherwise a new master
restart_check.py   restart: whether the next master would start, asked before this one stops
start_command.py   start: decides between a file, a new app and an app of the list
file_targets.py    files in the place of apps: reload prefork.toml
start_target.py    which words of start are targets, and scripts as commands
script_runner.py   the command that runs a script
foreign_file.py    files of other managers: start them, or print them as TOML
start_file.py      start FILE.toml and check: what the file asks for, compared with what runs
module_check.py    refuse a start whose module does not exist
launch.py          start one app in the background and report the outcome
master_start.py    become the master of an app, in a child process of the command
parallel_tasks.py  run tasks in child processes, in an order, several at a time
save.py            save and resurrect: the list of running apps, kept in a file
systemd_unit.py    startup, unstartup and init: a systemd unit and a sample settings file
store_verb.py      store: shows and changes what is in the store of an app
inspect.py         list, show, events, report: verbs that change nothing
logs.py            logs: print and follow the records of several logs
monit.py           monit: the live view and its keys
completion.py      completion: scripts for bash, zsh and fish
"""
