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
HEADER_FACTS = tuple(part for parts in FACTS.values() for part in parts)
FAMILIES = {
    family: tuple(part for part in HEADER_FACTS if part.startswith(family + "-"))
    for family in ("x-forwarded", "forwarded")
}
EXPECTED = f"some of {', '.join(FACTS)}, {', '.join(FAMILIES)}, {', '.join(HEADER_FACTS)}"


def parse_header_facts(words: Iterable[str]) -> tuple[str, ...]:
    """Return the header facts that ``words`` mean, each once, such as ``x-forwarded-for``.

    Raises ValueError, which says what was expected.
    """
    found: set[str] = set()
    for word in words:
        parts = FACTS.get(word) or FAMILIES.get(word) or (word,)
        if parts[0] not in HEADER_FACTS:
            raise ValueError(EXPECTED)
        found.update(parts)
    return tuple(part for part in HEADER_FACTS if part in found)


def format_header_facts(parts: Iterable[str]) -> list[str]:
    """Return the shortest list of words that means these header facts."""
    left = set(parts)
    words = []
    for fact, its_parts in FACTS.items():
        whole = left.issuperset(its_parts)
        words += [fact] if whole else [part for part in its_parts if part in left]
    return words
