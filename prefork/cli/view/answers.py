"""Print the answer of a master to a verb, for people. The verb's declaration names its printer."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefork.cli.output.output_streams import print_json
from prefork.plural import pluralize
from prefork.unix.process import signal_name
from prefork.unix.signals import signal_number

Options = argparse.Namespace


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a verb. ``app``: its name; ``took``: seconds from the request to the result."""

    app: str
    values: Mapping[str, Any]
    took: float = 0.0


def print_reload(answer: Answer, _options: Options) -> None:
    """Print the generation that serves now."""
    values = answer.values
    if "accepted" in values:
        print(f"{answer.app}: reloading")
    else:
        print(f"{answer.app}: reloaded to gen {values['generation']} in {values['took']:.2f}s")
    if keys := values.get("needs_restart"):
        print(f"{answer.app}: changing {', '.join(keys)} takes `prefork restart {answer.app}`")


def print_scale(answer: Answer, _options: Options) -> None:
    """Print the number of workers, and why it is not the requested one."""
    values = answer.values
    if "accepted" in values:
        print(f"{answer.app}: scaling")
        return
    superseded = f", as {values['instead']} asked meanwhile" if "instead" in values else ""
    slots = ", ".join(map(str, values.get("done", ())))
    done_note = f"; the work of slot {slots} is done (stop-exit-codes)" if slots else ""
    print(f"{answer.app}: {pluralize(values['workers'], 'worker')}{superseded}{done_note}")


def print_signal(answer: Answer, options: Options) -> None:
    """Print the processes that got the signal."""
    name = signal_name(signal_number(options.signal))
    pids = ", ".join(map(str, answer.values["pids"]))
    print(f"{answer.app}: {name} sent to {pids or 'no process: the app has no workers now'}")


def print_ping(answer: Answer, _options: Options) -> None:
    """Print how long the master took to answer."""
    print(f"{answer.app}: answers in {answer.took * 1000:.1f} ms")


def print_variables(answer: Answer, options: Options) -> None:
    """Print the variables of the workers; their values are masked without ``--reveal``."""
    from prefork.config.settings_diff import MASKED  # noqa: PLC0415 - all options come with it

    variables = answer.values["env"]
    for name in sorted(variables):
        print(f"{name}={variables[name] if options.reveal else MASKED}")


def print_why(answer: Answer, options: Options) -> None:
    """Print the last deaths of workers, with their causes."""
    if options.json:
        print_json(answer.values["deaths"])
        return
    # Few verbs need it.
    from prefork.cli.view.death_report import Failure, print_deaths  # noqa: PLC0415

    values = answer.values
    reload = Failure(str(values.get("failure", "")), values.get("failed_at"))
    end = Failure(str(values.get("ended", "")), values.get("ended_at"))
    print_deaths(answer.app, values["deaths"], reload, end)


def print_plan(answer: Answer) -> None:
    """Print what a reload of the app would do: the answer to the verb ``plan``."""
    plan = answer.values
    print_changes(plan["changes"] or [])
    if not plan["changes"]:
        print("  no setting changes; the code is loaded anew")
    restart_keys = [change["key"] for change in plan["changes"] if change["restart"]]
    if restart_keys:
        print(f"  changing {', '.join(restart_keys)} takes `prefork restart {answer.app}`")
    if plan.get("obstacle") or plan.get("refusal"):
        return  # the reason is an error of its own
    numbers = f"{pluralize(plan['workers'], 'worker')} now, {plan['then']} then"
    if not plan["slots"]:
        print(f"{answer.app}: {numbers}")  # all workers were drained
        return
    slots = ", ".join(map(str, plan["slots"]))
    print(
        f"{answer.app}: {numbers}; slots {slots} one after another, at most {plan['surge']} more "
        "at a time"
    )


def print_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """Print changed settings, one a line: ``key: old -> new``."""
    for change in changes:
        print(f"  {change['key']}: {change['old']} -> {change['new']}")
