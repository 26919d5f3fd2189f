"""Children that attack their master over every channel that they have.

__main__.py     run the attacks and measure how long a ping takes
attacks.py      the attacks
siege.py        one master, one attacker, and pings all the while
taken_over.py   start prefork with an auxiliary process that attacks
"""
