"""Write strings in TOML. PURE."""

import json


def toml_string(text: str) -> str:
    """Return ``text`` as a basic string (https://toml.io/en/v1.0.0#string).

    TOML escapes the same characters as JSON, and DEL. The writer of the toml package is not used,
    because it corrupts control characters and backslashes before an x. A text with lone surrogates
    cannot be in TOML; they are written as backslash escapes, and the string then reads back as
    another text.
    """
    utf8 = text.encode("utf-8", "backslashreplace").decode()
    return json.dumps(utf8, ensure_ascii=False).replace("\x7f", "\\u007f")
