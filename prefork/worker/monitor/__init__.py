"""Signs of life of a worker, its figures, and reports about slow and stuck requests.

heartbeat.py     renew the deadline in the scoreboard, from the loop
stats.py         the figures of the worker's row
watchdog.py      the thread that reports when the worker hangs
stack_report.py  find requests on the stacks of threads and tasks, and format them
stack_signal.py  the signal that makes a worker write its bare stacks
slow_log.py      --slow-log: slow requests and blocked event loops
"""
