"""Private protocols between our own processes. PURE.

ready.py       what a worker says on its ready pipe
scoreboard.py  the layout of the memory that master and workers share
"""
