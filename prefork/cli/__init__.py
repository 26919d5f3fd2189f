"""The command ``prefork``: it serves an app, checks it, or carries out a verb.

command.py  the entry point: from the command line to the exit code
serve/      ``prefork MODULE:CALLABLE``: read the settings, check the app, run its master
verbs/      ``prefork VERB``: parses its words, and does what it says
manual/     ``prefork help``, ``--help`` and the man page
registry/   the apps of a home: ask their masters, read their scoreboards and their logs
view/       tables, screens and texts for people
output/     stdout and stderr of a command, and the errors of writing to them

Imports go from ``manual`` to ``verbs``, from ``verbs`` to ``view``, ``serve`` and ``registry``,
from ``view`` to ``registry``, and from all of them to ``output``. ``verbs`` reads the pages of
``manual``, to complete their names.
"""
