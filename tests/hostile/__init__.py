"""Children that attack their master over every channel that they have.

``scripts/hostile`` runs the attacks and measures how long a ping takes meanwhile. The files:

    __main__.py        the command line of scripts/hostile
    attacks.py         the attacks
    attack_runner.py   one master, one attacker, and pings all the while
    taken_over.py      start prefork with an auxiliary process that attacks
"""
