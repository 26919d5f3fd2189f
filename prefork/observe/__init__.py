"""Logs, events as text, the watcher of files, and the status server.

access_line.py    the format of the access log, compiled into one function
access_filter.py  requests that the access log leaves out
access_log.py     the access log of a worker
event_text.py     events of the pool as log lines, and the state of an app as one line
file_poll.py      finds changed files by looking at all of them
journal_log.py    log records as entries of the systemd journal
line_writer.py    a buffer that writes lines without waiting for a reader or a disk
log_archive.py    compresses and removes rotated logs
log_directory.py  the folder of the workers' output, its owner, and the logs in it
log_records.py    the text and JSON format of log records
log_rotation.py   when a log is rotated, how rotated logs are named, and which are removed
log_writer.py     the process that writes the output of all workers to files
logger.py         the log of a master and its workers
master_log.py     rotates the master's own log
output_file.py    one file of workers' output
output_files.py   the files of one app: one for all workers, or one for each slot
status/           the status server: health, metrics and a page
watcher.py        the process that reports changed files
write_journal.py  shared memory in which the log writer records what it is about to write
"""
