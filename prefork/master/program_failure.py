"""Why a program failed, as a text with the next step for the operator."""

import posixpath
import shlex
from collections.abc import Iterable, Sequence

from prefork.config import Config
from prefork.master.output_excerpt import OutputExcerpt
from prefork.master.program import Program
from prefork.unix.listeners import Listener
from prefork.unix.process import ExitStatus

USES_DESCRIPTORS = "descriptor 3 (LISTEN_FDS; in Node: server.listen({ fd: 3 }))"
"""Where a program finds its first socket, for messages."""


def describe_end(name: str, program: Program, death: ExitStatus, obstacle: str) -> str:
    """Return why the program ended: how, what it printed last, and what helps.

    ``name``: of the app. ``obstacle``: why its processes did not load the Node preload, as far as
    that was seen.

    The master reads stderr alone. stdout has its own pipe to the log writer, which may still be
    writing the last lines, so a program that logs its errors there gets the command that shows
    them.
    """
    how = f"exit code {death.code}" if death.signal is None else death.signal
    when = "" if program.is_ready else " before it was ready"
    text = f"{shlex.join(program.config.command)} ended{when} ({how})"
    listeners, output = program.generation.listeners, program.stderr.excerpt
    if program.config.log_dir and not output.text():
        text = f"{text}; it printed nothing on stderr, its stdout: `prefork logs {name} --out`"
    return add_output(text, program.config, listeners, output, obstacle)


def add_output(
    text: str,
    config: Config,
    listeners: Iterable[Listener],
    output: OutputExcerpt,
    obstacle: str = "",
) -> str:
    """Return ``text`` with an excerpt of the output, and a hint if an address is in use, or if
    there was an ``obstacle``."""
    if excerpt := output.text():
        text = f"{text}; its last output:\n{excerpt}"
    if obstacle:
        return f"{text}\nhint: {obstacle}"
    if output.is_address_in_use:
        bound = list(map(str, listeners))
        wanted = output.node_address if _can_load_preload(config) else ""
        is_off = config.node_shim == "off"
        hint = _node_hint(wanted, bound, is_off) if wanted else _address_hint(", ".join(bound))
        text = f"{text}\n{hint}"
    return text


def _can_load_preload(config: Config) -> bool:
    """Return whether Node would load the preload with ``--bind``, unless that is off. Bun
    and Deno have none, and print messages of Node."""
    names = {posixpath.basename(word) for word in config.command[:2]}
    return not names & {"bun", "bunx", "deno"}


def _node_hint(wanted: str, bound: list[str], is_off: bool) -> str:
    """Return what to do about the address ``wanted`` of a Node server, which is in use.

    ``bound``: the addresses of --bind. ``is_off``: the preload is left out (--node-shim off).
    """
    flag = f"`--bind {_bind_value(wanted)}`"
    without = " and without `--node-shim off`" if is_off else ""
    if any(_has_port_of(wanted, address) for address in bound):
        if is_off:
            return (
                f"hint: prefork has bound {wanted}. Leave out `--node-shim off`, and all workers "
                "of a Node server share it without a change of the program"
            )
        return (
            f"hint: prefork has bound {wanted}, and a server without the preload listens there: "
            "one in a worker thread, which cannot share it, so let the main thread listen; one of "
            "`node --watch`: leave that out, and give --watch to prefork; or one whose parent "
            "closed the descriptors that it had from prefork"
        )
    if bound:
        return (
            f"hint: prefork has bound {', '.join(bound)}, and the program listens on {wanted}, "
            f"which only one process can: with {flag} as well{without}, "
            "the workers share that, too"
        )
    return (
        f"hint: only one process can listen on {wanted}. With {flag}{without} prefork opens it, "
        "and all workers of a Node server share it without a change of the program; if another "
        "program has it, prefork then says which one"
    )


def _has_port_of(wanted: str, bound: str) -> bool:
    """Return whether an address of Node's messages means the port or path of one of --bind."""
    port = wanted.rpartition(":")[2]
    return bound.rpartition(":")[2] == port if port.isdecimal() else bound.endswith(wanted)


def _bind_value(address: str) -> str:
    """Return the value of --bind for an address as Node writes it."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return f"unix:{address}"
    if host in ("::", "0.0.0.0"):
        return f":{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe_obstacle(addresses: Sequence[str], name: str, config: Config, is_node: bool) -> str:
    """Return why programs that own these addresses cannot be reloaded, and what helps.

    ``name``: of the app. ``is_node``: Node runs them.
    """
    text = (
        f"the program listens on {', '.join(addresses)} by itself, where no second one can listen "
        f"beside it: `prefork restart {name}` stops it and starts it again; "
    )
    if not is_node:
        return (
            f"{text}with --bind, and a program that accepts on {USES_DESCRIPTORS}, a reload loses "
            "no request"
        )
    flags = " ".join(f"--bind {address}" for address in addresses)
    without = " and without `--node-shim off`" if config.node_shim == "off" else ""
    return (
        f"{text}with `{flags}`{without} prefork opens that, all workers of a Node server share it "
        "without a change of the program, and a reload loses no request"
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
