"""The command: read the settings, then serve, check or print; or carry out a verb.

command.py   from the words to the exit code
direct.py    ``prefork [OPTIONS] MODULE:CALLABLE``, and what may stand instead of serving
serving.py   the surroundings of a master, and the master
settings.py  the settings from file, environment and flags, read anew for each reload
checking.py  ``--check``: load the app in a throw-away process
standard_output.py  the stdout of verbs: a full disk is told of
refusal.py   what a machine refuses when it has no more of something
tasks.py     several things to do at a time, some of which come after others
verbs.py     the table of the verbs; each is imported when it is carried out (later.py)
"""
