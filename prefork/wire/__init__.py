"""The private protocols between prefork's own processes. PURE.

app_description.py      check the description of an app that another process wrote
control.py              the control protocol: requests and answers as JSON lines
death_file.py           the last deaths of an app's workers, in its folder
fields.py               the fields of the scoreboard, and the values made of them
figure_totals.py        figures of the processes of a program, added up
figures_message.py      figures of requests that a program reports
guard_messages.py       messages of the master to the guard of its programs
histogram.py            response times in logarithmic buckets, and quantiles
journal_entry.py        entries of the native protocol of systemd-journald
leader_view.py          the leader, as the rows of the scoreboard tell it
log_writer_messages.py  messages between the master and the log writer or the status server
notify.py               datagrams of sd_notify(3) that programs send
ready.py                messages of a worker on its ready pipe
registry_state.py       the state file of an app in the registry
row_formulas.py         formulas that make a value from scoreboard rows
row_values.py           values for people and programs, computed from scoreboard rows
scoreboard.py           the layout of the shared memory of master and workers
start_report.py         the report of a daemon to the foreground process
verb.py                 the parts of the declaration of a verb
verb_table.py           the declarations of all verbs
versions.py             the version that each message carries
watcher_messages.py     messages of the file watcher to the master
worker_orders.py        orders of the master to a worker
"""
