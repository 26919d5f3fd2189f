"""Texts of others, made fit to be shown. PURE.

An exception's message, a program's last words, a file name or a status can hold any character. Some
of them act on what shows them: ESC sequences write to a terminal's clipboard (OSC 52) or move its
cursor, a line end forges the next record of a log, a bidi control reorders what the reader sees.
Others end the process that shows them: setproctitle refuses NUL, and no encoder takes a lone
surrogate.

Texts stay as they are until they are shown; each sink calls one of the functions here, so that no
source can be forgotten:

    process titles                  master/process_titles.py               printable_line
    STATUS= to systemd              unix/systemd.py                printable_line
    the log of master and workers   observe/logger.py                 printable_text, then indented
    errors on stderr                unix/nonblocking_writer.py, observe/logger.py   printable_text
    what a verb prints              cli/output/output_streams.py, cli/view/console.py
    printable_text, on a terminal
    ``prefork logs``                cli/verbs/logs.py                    printable_text, on a
    terminal
    ``--json`` of a verb            cli/output/output_streams.py                 printable_value
    the status page and metrics     observe/status                 printable_value, printable_line

Escaped are control characters (Unicode category Cc), lone surrogates (Cs), the separators of lines
and paragraphs, and the controls of the bidirectional algorithm (Unicode TR 36, section 2.5; "Trojan
Source"). Joiners and other invisible characters stay: scripts and emoji need them. The escapes are
those of Python's literals. A surrogate that stands for a byte of no UTF-8 (PEP 383) becomes that
byte: ``caf\\xe9``. A backslash stays as it is, so a text that was escaped before is not changed.
"""

import re
from typing import Any

MAX_TEXT_LENGTH = 20 * 1024
"""Characters of an error or a traceback that are kept. JSON writes a character with up to twelve
bytes, and one line of the ready pipe or of the control socket has room for them."""

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NAMED_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable_line(text: str) -> str:
    """The text as one line: line ends and tabs are escaped as well. Idempotent."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


def printable_text(text: str) -> str:
    """The text, of which line ends (LF, CR LF) and tabs stay; a CR LF becomes LF. Idempotent."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable_line, line.split("\t"))) for line in lines)


def printable_value(value: Any) -> Any:
    """A value of JSON (RFC 8259) with all of its texts, keys included, as ``printable_text``."""
    match value:
        case str():
            return printable_text(value)
        case dict():
            return {printable_value(key): printable_value(each) for key, each in value.items()}
        case list() | tuple():
            return [printable_value(each) for each in value]
    return value


def cut_middle(text: str, length: int = MAX_TEXT_LENGTH) -> str:
    """The text, or its begin and its end when it has more than ``most`` characters: both ends of a
    traceback tell more than its middle."""
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]}\n  … cut …\n{text[-half:]}"


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return _NAMED_ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
