"""The words of other servers and managers, and their names here. PURE.

foreign_word.py      the parts of a row of the table, and how a row is declared
gunicorn_words.py    settings, flags and hooks of gunicorn
uvicorn_words.py     flags of uvicorn
hypercorn_words.py   flags and keys of hypercorn
granian_words.py     flags of granian
pm2_words.py         flags of PM2, keys of its ecosystem files
supervisor_words.py  keys and flags of supervisor
foreign_verbs.py     verbs of PM2, supervisorctl and others
foreign_variables.py the environment variables of other servers
foreign_table.py     finds the meanings of a word, and says what it is here
keywords.py          words of other servers as keyword arguments of prefork.run
file_names.py        which words are files, and of what kind
command_lines.py     the words of command lines, and the servers that they call
converted_app.py     an app of another manager's file, as TOML
ecosystem.py         the apps of a PM2 ecosystem file
procfile.py          the apps of a Procfile
supervisor_sections.py
                     the sections and values of a supervisord.conf
supervisor_programs.py
                     the programs of a supervisord.conf, as apps
uwsgi_keys.py        what the keys of a uwsgi.ini are here
server_settings.py   the settings of a gunicorn.conf.py, or of a hypercorn.toml
peer_tables.py       the tables of the pages about the peers
translation.py       what a translation is, and whether a command line needs one
flag_translator.py   translates a command line, flag by flag

Design
------
- **One table.** The messages of the command, the aliases that it takes, the pages about the peers
  in the manual and the conversion of their files follow from it, so that they cannot differ. Lists
  of the flags of installed peers (``tests/pure/config/peer_words.json``) are compared with it.
"""
