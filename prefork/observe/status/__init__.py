"""The status server: a process of the master's that answers who wants to know how the app is.

It reads the scoreboard, which it shares with all workers, so it answers while every worker is
blocked and the master is busy. Only what the master alone knows or does (why workers died, the log,
a reload, another number of workers) is asked of it, and an answer never waits for that elsewhere.
"""
