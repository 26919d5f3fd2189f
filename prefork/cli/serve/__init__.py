"""Serving an app, and what the flags of the serving command do instead.

serve_command.py    ``prefork [OPTIONS] MODULE:CALLABLE``: serve, or print help, version, settings
settings_loader.py  the settings from file, environment and flags, read again at each reload
run_master.py       set up the process of a master, run the master, return its exit code
check_app.py        ``--check``: load the app in a child process and report the result
"""
