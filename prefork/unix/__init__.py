"""The seam to the kernel. Each file opens and closes one kind of thing; none decides anything.

process.py     fork, pidfd, reap, signal a child
signals.py     the master's mailbox of signals
poller.py     one wait over descriptors and a deadline
pipes.py       the ready pipe and the life pipe
nonblocking_writer.py        writing without waiting for a reader
streams.py     stdout and stderr, which an app may replace
listeners.py   listening sockets
scoreboard.py  the shared memory that wire/scoreboard.py lays out
directory.py   directories that other users may write to, held by descriptor
path_trust.py     whether another user may exchange a component of a path
regular_file.py regular files of a bounded size, opened without waiting
append_file.py   logs, and what another user put in their place
lock_file.py     locks that say that a file's owner lives
pidfile.py     a locked pid file
daemon.py      going to the background, and telling the foreground how it went
systemd.py     sd_notify and LISTEN_FDS
identity.py    users and groups
privileges.py  capabilities, and rights by exec
environment.py a secret out of the environment
cores.py       how many cores we may use
memory.py      the kernel's count of out-of-memory kills
"""
