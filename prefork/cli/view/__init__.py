"""The output of verbs for people, drawn from descriptions of apps. Nothing here asks a master.

units.py         numbers as people read them: sizes, durations, rates
columns.py       tables that leave out columns where the terminal is narrow
console.py       a rich console that prints the texts of apps without acting on them
app_columns.py   the columns of apps and of workers
app_table.py     ``prefork list``: the table of all apps, once or live
sort_order.py    the keys that ``list`` sorts by
answers.py       what a master answered to a verb
figure_lines.py  the lines of ``show`` about the figures of all workers
details.py       ``prefork show``, and the warnings below a list
death_report.py  ``prefork why``: the deaths of workers, grouped by their cause
monit_screen.py  the screen of ``prefork monit``
keys.py          single keys of a terminal
stored_bytes.py  keys and values of a store as texts
progress.py      a verb on several apps, one after another, and the steps on the way
"""
