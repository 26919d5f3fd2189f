"""stdout and stderr of a verb, and the console that draws tables."""

import io
import sys

import pytest
from rich.table import Table
from rich.text import Text

from prefork.cli.output.output_streams import (
    PrintableStream,
    original_stream,
    original_streams,
    print_json,
    printable_streams,
)
from prefork.cli.view.console import PrintableConsole

EVIL = "a\x1b]52;c;aGk=\x07\tb\ud800\x9b\u202e"
FIT = "a\\x1b]52;c;aGk=\\x07\tb\\ud800\\x9b\\u202e"


class Terminal(io.TextIOWrapper):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def stream(kind: type[io.TextIOWrapper], encoding: str = "utf-8") -> io.TextIOWrapper:
    return kind(io.BytesIO(), encoding=encoding, write_through=True)


def written(to: io.TextIOWrapper) -> bytes:
    assert isinstance(to.buffer, io.BytesIO)
    return to.buffer.getvalue()


def test_a_terminal_gets_printable_text() -> None:
    to = stream(Terminal)
    out = PrintableStream(to)
    print(EVIL, file=out)
    out.writelines([EVIL, "\n"])
    assert written(to).decode() == f"{FIT}\n{FIT}\n"


def test_a_pipe_gets_the_text_with_escapes_for_what_its_encoding_lacks() -> None:
    to = stream(io.TextIOWrapper)
    print(EVIL, file=PrintableStream(to))
    assert written(to) == EVIL.encode("utf-8", "backslashreplace") + b"\n"
    to = stream(io.TextIOWrapper, "latin-1")
    print("é€", file=PrintableStream(to))
    assert written(to) == b"\xe9\\u20ac\n"


def test_an_app_gets_the_streams_that_python_made() -> None:
    before = sys.stdout, sys.stderr
    with printable_streams():
        assert isinstance(sys.stdout, PrintableStream)
        with printable_streams():
            assert original_stream(sys.stdout) is before[0]
        with original_streams():
            assert (sys.stdout, sys.stderr) == before
        assert isinstance(sys.stderr, PrintableStream)
    assert (sys.stdout, sys.stderr) == before


def test_json_is_ascii_for_every_parser(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"reason": EVIL}, indent=None)
    assert capsys.readouterr().out.isascii()


def test_text_in_a_table_cannot_control_the_terminal() -> None:
    to = stream(Terminal)
    out = PrintableConsole(file=to, force_terminal=True, width=60, color_system="standard")
    table = Table()
    table.add_column("says")
    table.add_row("[/nothing] :smile: \x1b[2J")
    table.add_row(Text("red \x1b]52;\ud800", "red"))
    out.print(table)
    out.print("[red]plain \x9b")
    shown = written(to).decode()
    assert "[/nothing] :smile: \\x1b[2J" in shown
    assert "\x1b[31mred \\x1b]52;\\ud800" in shown
    assert "[red]plain \\x9b" in shown
    rows = [line for line in shown.splitlines() if "│" in line]
    assert len({len(row.replace("\x1b[31m", "").replace("\x1b[0m", "")) for row in rows}) == 1
