"""`scripts/bench manage`: measures the verbs of a process manager, prefork beside PM2.

    managers.py    the managers that are compared, and the arguments of each verb
    apps/          the apps that they run
    trial.py       runs one verb until its goal is reached, and measures time, CPU and memory
    rounds.py      the order of the measurements
    losses.py      reloads frameworks under load, and counts the lost requests
    reload_load.py the clients of such a reload
    results.py     medians, tables and JSON
    __main__.py    the command

Design
------
- **The benchmark observes the workers itself:** each worker writes a line to a file when it accepts
  connections. Managers define a ready worker differently, and PM2's verbs may return before the
  workers are ready.
"""
