"""Why a program failed, as a text with the next step for the operator."""

import shlex
from collections.abc import Iterable

from prefork.config import Config
from prefork.master.output_excerpt import OutputExcerpt
from prefork.unix.listeners import Listener
from prefork.unix.process import ExitStatus

USES_DESCRIPTORS = "descriptor 3 (LISTEN_FDS; in Node: server.listen({ fd: 3 }))"
"""Where a program finds its first socket, for messages."""


def describe_end(
    config: Config,
    listeners: Iterable[Listener],
    death: ExitStatus,
    output: OutputExcerpt,
    was_ready: bool,
) -> str:
    """Return why the program ended: how, what it printed last, and what helps."""
    how = f"exit code {death.code}" if death.signal is None else death.signal
    when = "" if was_ready else " before it was ready"
    return add_output(f"{shlex.join(config.command)} ended{when} ({how})", listeners, output)


def add_output(text: str, listeners: Iterable[Listener], output: OutputExcerpt) -> str:
    """Return ``text`` with an excerpt of the output, and a hint if an address is in use."""
    if excerpt := output.text():
        text = f"{text}; its last output:\n{excerpt}"
    if output.is_address_in_use:
        text = f"{text}\n{_address_hint(', '.join(map(str, listeners)))}"
    return text


def describe_obstacle(addresses: Iterable[str], name: str) -> str:
    """Return why programs that own these addresses cannot be reloaded, and what helps.

    ``name``: of the app.
    """
    return (
        f"the program listens on {', '.join(addresses)} by itself, where no second one can listen "
        f"beside it: `prefork restart {name}` stops it and starts it again; with --bind, and a "
        f"program that accepts on {USES_DESCRIPTORS}, a reload loses no request"
    )


def _address_hint(bound: str) -> str:
    """Return what to do about an address that is in use. ``bound``: those of --bind; or empty."""
    if bound:
        return (
            f"hint: prefork has bound {bound} already. Let the program accept on "
            f"{USES_DESCRIPTORS}, or leave out --bind"
        )
    return (
        "hint: another process has the address. If that is another worker of this app, or the old "
        "one during a reload: run one worker and use `prefork restart`; or share the socket with "
        f"--bind and accept on {USES_DESCRIPTORS}"
    )
