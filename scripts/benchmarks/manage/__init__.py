"""`scripts/bench manage`: the verbs of a process manager, prefork beside PM2.

- `managers`: who is measured, and the words of each verb. `apps/`: what is managed.
- `trial`: one verb, from its start until its goal is reached; what the processes used.
- `rounds`: the order of it all. `results`: figures, medians, tables. `__main__`: the command.
"""
