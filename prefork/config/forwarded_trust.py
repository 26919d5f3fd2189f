"""Parse the option that lists which facts of Forwarded and X-Forwarded-* headers are trusted. PURE.

for   proto   host   port   prefix      a fact, in any header
x-forwarded-for   forwarded-proto       a fact in one header; Forwarded has for=, proto= and host=
x-forwarded   forwarded                 all facts in the headers of one family
"""

from collections.abc import Iterable

FACTS: dict[str, tuple[str, ...]] = {
    "for": ("x-forwarded-for", "forwarded-for"),
    "proto": ("x-forwarded-proto", "forwarded-proto"),
    "host": ("x-forwarded-host", "forwarded-host"),
    "port": ("x-forwarded-port",),
    "prefix": ("x-forwarded-prefix",),
}
HEADER_FACTS = tuple(each for header_facts in FACTS.values() for each in header_facts)
"""All facts in single headers. ``forwarded-for`` is ``for=`` in the Forwarded header (RFC 7239)."""

FAMILIES = {
    family: tuple(each for each in HEADER_FACTS if each.startswith(family + "-"))
    for family in ("x-forwarded", "forwarded")
}
EXPECTED = f"some of {', '.join(FACTS)}, {', '.join(FAMILIES)}, {', '.join(HEADER_FACTS)}"


def parse_header_facts(words: Iterable[str]) -> tuple[str, ...]:
    """Return the header facts that ``words`` mean, each once, such as ``x-forwarded-for``.

    Raises ValueError, which says what was expected.
    """
    found: set[str] = set()
    for word in words:
        header_facts = FACTS.get(word) or FAMILIES.get(word) or (word,)
        if header_facts[0] not in HEADER_FACTS:
            raise ValueError(EXPECTED)
        found.update(header_facts)
    return tuple(each for each in HEADER_FACTS if each in found)


def format_header_facts(header_facts: Iterable[str]) -> list[str]:
    """Return the shortest list of words that means these header facts."""
    wanted = set(header_facts)
    words = []
    for fact, in_headers in FACTS.items():
        is_whole = wanted.issuperset(in_headers)
        words += [fact] if is_whole else [each for each in in_headers if each in wanted]
    return words
