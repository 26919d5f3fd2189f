"""The command: read the settings, then serve, check or print.

command.py   ``prefork [OPTIONS] MODULE:CALLABLE``
settings.py  the settings from file, environment and flags, read anew for each reload
checking.py  ``--check``: load the app in a throw-away process
"""
