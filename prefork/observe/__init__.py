"""What people get to see: the log, the access log, and happenings as words.

logger.py          the log of master and workers
access.py       the access log
access_line.py  its format, compiled
line_writer.py  lines to where they go, without waiting for a reader
event_text.py         happenings as log lines and as one line of status
"""
