"""Strings as TOML writes them. PURE."""

import json


def toml_string(text: str) -> str:
    """Write a basic string (https://toml.io/en/v1.0.0#string) that reads back as the same text.

    TOML escapes what JSON does, and DEL. The writer of the toml package garbles backslashes before
    an x, and control characters. A text that is no UTF-8 cannot be in TOML: its bytes are shown as
    backslash escapes, and do not read back.
    """
    utf8 = text.encode("utf-8", "backslashreplace").decode()
    return json.dumps(utf8, ensure_ascii=False).replace("\x7f", "\\u007f")
