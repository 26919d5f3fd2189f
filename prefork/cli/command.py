"""The entry point of ``prefork``: from the command line to the exit code."""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefork.cli.output.output_streams import printable_streams
from prefork.cli.output.resource_errors import resource_error
from prefork.cli.output.standard_output import finish_output, print_error, report_write_errors
from prefork.cli.verbs.run_verb import foreign_verb_as_ours, is_verb, run_verb
from prefork.errors import AppError, PreforkError, UsageError
from prefork.unix.daemon import open_standard_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the whole command and return its exit code.

    ``arguments`` default to those of the process. An error is printed as one line on stderr; an
    error of the app with the app's own traceback, an unexpected one with the request to report it.
    """
    open_standard_streams()
    report_write_errors()
    with printable_streams():
        words = sys.argv[1:] if arguments is None else arguments
        code = _exit_code(lambda: run(words))
    return finish_output(code)


def continue_start(state: int) -> int:
    """Be the master of an app, in a new Python that a command executed; return the exit code.

    ``state``: the descriptor of what the command passed on (verbs/master_start.py).
    """
    from prefork.cli.verbs.master_start import run_passed_start  # noqa: PLC0415 - few starts need it

    open_standard_streams()
    report_write_errors()
    with printable_streams():
        code = _exit_code(lambda: run_passed_start(state))
    return finish_output(code)


def _exit_code(action: Callable[[], int]) -> int:
    try:
        return action()
    except PreforkError as error:
        return _report_known_error(error)
    except KeyboardInterrupt:
        return 130
    except SystemExit as request:  # argparse exits after it printed its help
        return request.code if isinstance(request.code, int) else int(request.code is not None)
    except Exception as error:
        return _report_unexpected_error(error)


def _report_known_error(error: PreforkError) -> int:
    prefix = "the app is broken: " if isinstance(error, AppError) else ""
    return _report_error(f"{prefix}{error}", error.exit_code)


def _report_unexpected_error(error: Exception) -> int:
    shortage = resource_error(error) if isinstance(error, OSError) else None
    if shortage is not None:
        return _report_error(str(shortage), shortage.exit_code)
    trace = "".join(traceback.format_exception(error))
    return _report_error(
        f"this is a bug in prefork, please report it\n{trace}", PreforkError.exit_code
    )


def _report_error(text: str, code: int) -> int:
    print_error(text)
    return code


def run_from_python(app: object, options: Mapping[str, Any]) -> int:
    """Serve ``app`` with the ``options`` of ``prefork.run`` and return 0 after the stop.

    An error is printed as the command prints it, and raises SystemExit with its exit code, as
    ``uvicorn.run`` does: a traceback through prefork would tell the caller nothing more. An app
    that does not start does so, too, because scripts that called ``uvicorn.run`` use no result.
    """

    def serve() -> int:
        if not isinstance(app, str):
            raise UsageError(
                "prefork.run() takes the app by name, as in prefork.run('myapp:main'): each worker "
                "imports it anew, so that a reload can bring new code"
            )
        return _run_without_verb([], {**options, "app": app})

    try:
        code = serve()
    except PreforkError as error:
        raise SystemExit(_report_known_error(error)) from None
    if code != 0:
        raise SystemExit(code)
    return code


def run(arguments: Sequence[str]) -> int:
    """Carry out the command line and return the exit code. Raises PreforkError."""
    if list(arguments) == ["version"]:
        arguments = ["--version"]
    arguments = foreign_verb_as_ours(arguments)
    return run_verb(arguments) if is_verb(arguments) else _run_without_verb(arguments, {})


def _run_without_verb(arguments: Sequence[str], python_options: Mapping[str, Any]) -> int:
    # Many a verb is done in less time than the import of all options takes.
    from prefork.cli.serve.serve_command import serve_or_print  # noqa: PLC0415

    return serve_or_print(arguments, python_options, _print_help)


def _print_help(is_whole: bool) -> None:
    from prefork.cli.manual.short_help import short_help, whole_help  # noqa: PLC0415

    print(whole_help() if is_whole else short_help(), end="")
