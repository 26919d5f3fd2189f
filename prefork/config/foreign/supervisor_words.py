"""The keys of supervisor's configuration, and the flags of its commands. PURE."""

from prefork.config.foreign.foreign_word import PeerName, PeerWords

_supervisor = PeerWords(PeerName.SUPERVISOR)
_same, _take, _other = _supervisor.same, _supervisor.take, _supervisor.other
_ignore, _absent = _supervisor.ignore, _supervisor.absent

# [program:x], which is [apps.x] here.
_same("command", "command", "a text, or a list of words")
_other("process_name", "--name", "the name of the table [apps.NAME]")
_other("numprocs", "--workers", "PREFORK_SLOT is the number of each")
_absent("numprocs_start", "PREFORK_SLOT begins at 0")
_other("priority", 'after = ["NAME"]', "the apps to start before")
_absent("autostart", "`start FILE --only NAMES` starts some apps of a file")
_other(
    "autorestart",
    "--stop-exit-codes",
    "unexpected: name the expected codes; false: also --max-restarts 0",
)
_other("startsecs", "--min-uptime", "--ready says better when a program is ready")
_other("startretries", "--max-restarts", "off by default: it is tried again, later and later")
_other("exitcodes", "--stop-exit-codes")
_other("stopsignal", "--stop-signal", "TERM or INT")
_other("stopwaitsecs", "--kill-timeout")
_absent("stopasgroup", "not needed: the whole process group gets the stop signal")
_absent("killasgroup", "not needed: what outlives a program is killed")
_same("user", "--user", "of the workers; the master stays what it is")
_same("umask", "--umask")
_other("directory", "--chdir")
_other("environment", "[apps.NAME.env]", "a table of TOML")
_absent("redirect_stderr", "both streams go to one log, and `logs --err` tells them apart")
_LOGS = "a folder: both streams go to NAME.out there"
_other("stdout_logfile", "--log-dir", _LOGS)
_other("stderr_logfile", "--log-dir", _LOGS)
_other("stdout_logfile_maxbytes", "--log-rotate-size")
_other("stderr_logfile_maxbytes", "--log-rotate-size")
_other("stdout_logfile_backups", "--log-keep")
_other("stderr_logfile_backups", "--log-keep")
_EVENTS = "not to be had: `prefork events APP` prints what happens, `logs` what a program says"
for _key in (
    "stdout_capture_maxbytes",
    "stderr_capture_maxbytes",
    "stdout_events_enabled",
    "stderr_events_enabled",
):
    _absent(_key, _EVENTS)
_SYSLOG = "not to be had: systemd takes the output to the journal, logger(1) takes it from a pipe"
_absent("stdout_syslog", _SYSLOG)
_absent("stderr_syslog", _SYSLOG)
_absent(
    "serverurl", "a program asks its master by NOTIFY_SOCKET; `prefork.Client()` asks all of them"
)

# [fcgi-program:x], [group:x] and [eventlistener:x].
_other("socket", "--bind", "the program finds it as descriptor 3, with LISTEN_FDS")
_other("socket_backlog", "--backlog")
_other("socket_owner", "--bind unix:PATH,owner=USER:GROUP")
_other("socket_mode", "--bind unix:PATH,mode=660")
_other("programs", "--namespace")
_absent("events", _EVENTS)
_absent("buffer_size", _EVENTS)
_absent("result_handler", _EVENTS)

# supervisord: there is no daemon above the apps.
_DAEMON = "not needed: no daemon stands above the apps, each has a master of its own"
_other(
    "nodaemon -n --nodaemon",
    "prefork [OPTIONS] APP",
    "without `start` it stays in the foreground",
    takes=0,
)
_absent("silent -s --silent", _DAEMON, takes=0, values="")
_other("logfile -l --logfile", "--log-file", "the log of a master")
_other("logfile_maxbytes -y --logfile_maxbytes", "--log-rotate-size")
_other("logfile_backups -z --logfile_backups", "--log-keep")
_other("loglevel -e --loglevel", "--log-level")
_other("pidfile -j --pidfile", "--pid-file")
_other("childlogdir -q --childlogdir", "--log-dir")
_other("-d --directory", "--chdir")
_other("-u --user", "--user")
_other("-m --umask", "--umask")
_absent("identifier -i --identifier", _DAEMON)
_absent(
    "nocleanup -k --nocleanup", "rotated logs are removed by --log-keep and --log-total", takes=0
)
_absent("minfds -a --minfds", "the unit of systemd says it: LimitNOFILE=")
_absent("minprocs --minprocs", "the unit of systemd says it: LimitNPROC=")
_absent("strip_ansi -t --strip_ansi", "`logs` to a terminal makes foreign bytes printable", takes=0)
_absent("--profile_options", "py-spy profiles a running process")
_other("-c --configuration", "prefork start FILE.toml")
_same("-h --help", "--help", takes=0)
_same("-v --version", "--version", takes=0)

# supervisorctl: no server to log in to.
_HOME = "PREFORK_HOME names the home of the apps, and the owner of an app may manage it"
_absent("-s --serverurl", _HOME)
_absent("username -u --username", _HOME)
_absent("password -p --password", _HOME)
_absent("port", "--status ADDRESS serves a page that shows the app")
_absent("file", _HOME)
_absent("chown", "--control-group names a group that may look")
_absent("chmod", "--control-group names a group that may look")
_absent("prompt", "there is no shell of prefork: `prefork VERB APP`")
_absent("-i --interactive", "there is no shell of prefork: `prefork VERB APP`", takes=0)
_absent("-r --history_file", "there is no shell of prefork: `prefork VERB APP`", takes=0)

WORDS = tuple(_supervisor.words)
