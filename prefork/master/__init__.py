"""The thin shell around the pool. One thread, one loop, one wait; it never runs app code.

master.py      wait, gather facts, ask the pool, carry out orders
generation.py  what one generation is made of: settings, listeners, identity
children.py     the fork, and the children with their pipes and rows
auxiliary.py   a process beside the workers, and its successors: log writer, watcher, status server
process_titles.py      process titles
"""
