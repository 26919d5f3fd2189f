"""``prefork help``, ``--help`` and the man page: the manual for the terminal.

help_verb.py      ``prefork help``: print the list of topics, or what its words mean
manual_index.py   what a word means: a topic, a verb, an option, or a section of a topic
manual_pages.py   the pages of the manual, ``prefork/docs/*.md``
markdown_view.py  Markdown as lines for a terminal or a pipe
pager.py          show a text in the pager of the operator
settings_tables.py  the tables of the settings page for what is no option
short_help.py     ``prefork --help``, on one screen
man_page.py       ``prefork(1)``, made from the declarations by ``scripts/docs``
description.py    the text of a package index, made from README.md by ``scripts/docs``
"""
