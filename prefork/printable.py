"""Escape the characters of foreign texts that would act on whatever displays them. PURE.

An exception's message, a program's last output, a file name or a status may contain any character.
Some of them have an effect where they are displayed: an ESC sequence writes to the clipboard of a
terminal (OSC 52) or moves its cursor, a line end forges the next record of a log, a bidi control
reorders the visible text. Others end the process that displays them: setproctitle refuses NUL, and
no encoder accepts a lone surrogate.

Each output calls one of the functions below:

    process titles                  master/process_titles.py       printable_line
    STATUS= to systemd              unix/systemd.py                printable_line
    the log of master and workers   observe/logger.py              printable_text, then indented
    errors on stderr                unix/nonblocking_writer.py,    printable_text
                                    observe/logger.py
    what a verb prints              cli/output, cli/view           printable_text, on a terminal
    ``prefork logs``                cli/verbs/logs.py              printable_text, on a terminal
    ``--json`` of a verb            cli/output/output_streams.py   printable_value
    the status page and metrics     observe/status                 printable_value, printable_line

Escaped are control characters (Unicode category Cc), lone surrogates (Cs), the separators of lines
and paragraphs (U+2028, U+2029), and the controls of the bidirectional algorithm (Unicode TR 36
section 2.5, "Trojan Source"). Joiners and other invisible characters stay, because scripts and
emoji need them. The escapes are those of Python's literals. A surrogate that stands for a byte that
is not UTF-8 (PEP 383) becomes the escape of that byte: ``caf\\xe9``. A backslash stays as it is, so
a text that was escaped before does not change.

Design
------
- **The output escapes, not the source.** Sources of texts are many and new ones are added; the
  outputs are few and listed above.
- **Colours are escaped on a terminal as well.** A rule with an exception for harmless sequences
  needs a parser of escape sequences, and an attacker can look for its mistakes.
- **A pipe gets the bytes of the log.** ``prefork logs`` into a pipe does not escape, so that ``less
  -R`` and grep see what the app printed.
"""

import re
from typing import Any

MAX_TEXT_LENGTH = 20 * 1024
"""The number of characters of an error message or a traceback that are kept.

JSON needs up to twelve bytes for a character, and one line of the ready pipe or of the control
socket has room for them.
"""

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that str.isprintable() refuses and that act on a display: see the module's
docstring."""
_NAMED_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable_line(text: str) -> str:
    """Return ``text`` as one line: line ends, tabs and control characters are escaped.

    Idempotent.
    """
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


def printable_text(text: str) -> str:
    """Return ``text`` with control characters escaped, except LF and tab. Idempotent.

    CR LF becomes LF.
    """
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable_line, line.split("\t"))) for line in lines)


def printable_value(value: Any) -> Any:
    """Return a JSON value (RFC 8259) with all its strings and keys made printable."""
    match value:
        case str():
            return printable_text(value)
        case dict():
            return {printable_value(key): printable_value(each) for key, each in value.items()}
        case list() | tuple():
            return [printable_value(each) for each in value]
    return value


def cut_middle(text: str, length: int = MAX_TEXT_LENGTH) -> str:
    """Return ``text``, or its beginning and its end when it is longer than ``length`` characters.

    The middle is cut, because both ends of a traceback say more than its middle.
    """
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]}\n  … cut …\n{text[-half:]}"


def _escape(found: re.Match[str]) -> str:
    """Return the escape of one character as a Python literal would write it."""
    character = found[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return _NAMED_ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
