"""How many files and sockets this process may have open (getrlimit(2))."""

import resource

MOST = 1 << 20
"""Enough; some programs that an app may start go through all that they could have open."""


def raise_limit() -> None:
    """As far as the hard limit allows: the soft one is made for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many it may be."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else soft
