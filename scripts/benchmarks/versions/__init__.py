"""`scripts/bench versions`: compares the CPU time per request of two checkouts of prefork.

comparison.py  measures both checkouts by turns and computes the ratios
__main__.py    the command
"""
