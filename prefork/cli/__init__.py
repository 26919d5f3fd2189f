"""The command: read the settings, then serve, check or print; or carry out a verb.

command.py   from the words to the exit code
serve_command.py    ``prefork [OPTIONS] MODULE:CALLABLE``, and what may stand instead of serving
run_master.py   the surroundings of a master, and the master
settings_loader.py  the settings from file, environment and flags, read anew for each reload
check_app.py  ``--check``: load the app in a throw-away process
standard_output.py  the stdout of verbs: a full disk is told of
resource_errors.py   what a machine refuses when it has no more of something
parallel_tasks.py     several things to do at a time, some of which come after others
verb_table.py     the table of the verbs; each is imported when it is carried out (lazy_import.py)
"""
