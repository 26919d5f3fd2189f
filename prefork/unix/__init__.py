"""The interface to the kernel. Each file opens and closes one kind of thing; none decides anything.

Processes:

    process_start.py          name a process for good, by its pid and its start
    process.py                fork a child; watch it by pidfd, signal it, reap it
    process_tree.py           the session and the descendants of a program
    orphan_guard.py           a process that ends the programs of a killed master
    daemon.py                 run in the background and report the start to the foreground
    signals.py                queue signals for the master's loop
    poller.py                 wait for descriptors and one deadline
    systemd.py                sd_notify, LISTEN_FDS and the watchdog of systemd

Users and secrets:

    identity.py               look up users and groups, switch to them
    privileges.py             drop capabilities, set no_new_privs
    environment.py            remove a secret from the environment

Pipes, sockets and shared memory:

    pipes.py                  the pipes between the master and its workers
    descriptor_channel.py     messages and descriptors between master and auxiliary processes
    descriptor_disposal.py    close descriptors of hostile processes without waiting
    descriptor_store.py       listening sockets that systemd keeps when the master crashes
    descriptors.py            the limit of descriptors, and bound sockets among them
    control.py                the control socket
    notify.py                 the notify socket of a program
    listeners.py              listening sockets
    listener_handover.py      pass listening sockets to the next master
    activation.py             match the sockets of socket activation to the addresses of bind
    listen_check.py           the sockets that listen, and whose they are
    accept_check.py           whether processes accept on a socket that they share with others
    process_sockets.py        the sockets that processes have open
    accept_queue.py           the length of a listener's accept queue
    tcp_info.py               the kernel's data about a TCP socket
    shared_queue.py           a queue of open connections that all workers share
    shared_memory.py          sealed memory that no process can take away from another one
    scoreboard.py             the shared memory that wire/scoreboard.py lays out

Files:

    home.py                   the registry of apps under $PREFORK_HOME
    registry_entry.py         one app in the list, as other processes than its master see it
    system_homes.py           the homes of the services of this machine
    directory.py              folders that other users may write to, held by descriptor
    path_trust.py             whether another user may exchange a component of a path
    regular_file.py           regular files of a bounded size, opened without waiting
    append_file.py            log files, opened for appending
    journal.py                the socket of systemd-journald
    lock_file.py              locks that say that a file's owner lives
    pidfile.py                a locked pid file
    mount_type.py             the type of the file system of a file
    record_locks.py           locks on bytes of a file, freed at a death
    store_place.py            where the store of an app is
    open_files.py             the files that processes have open for writing
    nonblocking_writer.py     write without waiting for the reader
    streams.py                stdout and stderr, which an app may replace

Measurements:

    cores.py                  how many cores may be used
    cpu_usage.py              CPU usage of the cores and of processes
    memory.py                 malloc, available memory, out-of-memory kills
    memory_footprint.py       the memory of a process and its descendants
    measurement_pace.py       when a costly measurement is due again
    cgroup.py                 the cgroups of this process
    time_zone.py              the local time zone
"""
