"""Format distinguished names of the ssl module as text (RFC 4514)."""

from collections.abc import Iterable

DistinguishedName = Iterable[Iterable[tuple[str, str]]]
"""A name as in ``getpeercert()["subject"]``: relative names, each of one or more attributes."""

_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""Short attribute names (RFC 4514 section 3). Other attributes keep OpenSSL's names."""

_SPECIAL_CHARACTERS = frozenset('"+,;<>\\')


def format_distinguished_name(name: DistinguishedName) -> str:
    """Format a name with the last part first, as LDAP and mod_ssl do: ``CN=Ann,O=Example,C=DE``."""
    parts = ["+".join(f"{_SHORT_NAMES.get(k, k)}={_escaped(v)}" for k, v in part) for part in name]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """Escape a value (RFC 4514 section 2.4), control characters as well, because names go into logs
    and header fields."""
    last = len(value) - 1
    return "".join(
        f"\\{char}"
        if char in _SPECIAL_CHARACTERS or (at == 0 and char in " #") or (at == last and char == " ")
        else "".join(f"\\{byte:02X}" for byte in char.encode())
        if char < " " or char == "\x7f"
        else char
        for at, char in enumerate(value)
    )
