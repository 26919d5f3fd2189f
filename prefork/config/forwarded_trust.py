"""What proxies may say of a request, and how people write which of it counts. PURE.

for   proto   host   port   prefix      a fact, whichever header says it
x-forwarded-for   forwarded-proto       a fact in one header; Forwarded has for=, proto= and host=
x-forwarded   forwarded                 all that one family says
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
    """The parts that are meant, each once; ValueError says what was expected."""
    found: set[str] = set()
    for word in words:
        parts = FACTS.get(word) or FAMILIES.get(word) or (word,)
        if parts[0] not in HEADER_FACTS:
            raise ValueError(EXPECTED)
        found.update(parts)
    return tuple(part for part in HEADER_FACTS if part in found)


def format_header_facts(parts: Iterable[str]) -> list[str]:
    """The shortest way to write them."""
    left = set(parts)
    words = []
    for fact, its_parts in FACTS.items():
        whole = left.issuperset(its_parts)
        words += [fact] if whole else [part for part in its_parts if part in left]
    return words
