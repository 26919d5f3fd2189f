"""The apps of one home: find them, ask their masters, and read what they left in files.

client.py             ``prefork.Client``: list the apps, send a verb to a master, wait for its goal
elsewhere.py          where an app may be that is not in the list
app_state.py          the description of an app, and whether its master runs
scoreboard_reader.py  the scoreboard of an app, read without its master
process_usage.py      CPU and memory of the processes of apps
windowed_stats.py     request rate and quantiles of the last seconds
snapshot.py           all apps, sampled again and again: for ``monit`` and ``list --watch``
saved_apps.py         the text of ``saved.toml``, the file of ``prefork save``
log_follow.py         the lines of one log file and of its rotated files, and new lines
log_sources.py        the log files of an app, read as records: filtered and merged by time
log_tail.py           the last records of an app, for a pane of ``monit``
"""
