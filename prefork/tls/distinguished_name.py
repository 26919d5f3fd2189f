"""Distinguished names as text (RFC 4514), from what the ssl module tells of a certificate."""

from collections.abc import Iterable

DistinguishedName = Iterable[Iterable[tuple[str, str]]]
"""As in ``getpeercert()["subject"]``: parts of parts, because one part may have two attributes."""

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
"""RFC 4514 section 3; others go by the name that OpenSSL has for them."""

_SPECIAL_CHARACTERS = frozenset('"+,;<>\\')


def format_distinguished_name(name: DistinguishedName) -> str:
    """The last part first, as LDAP and mod_ssl have it: ``CN=Ann,O=Example,C=DE``."""
    parts = ["+".join(f"{_SHORT_NAMES.get(k, k)}={_escaped(v)}" for k, v in part) for part in name]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """RFC 4514 section 2.4. Control characters too: this goes into logs and header fields."""
    last = len(value) - 1
    return "".join(
        f"\\{char}"
        if char in _SPECIAL_CHARACTERS or (at == 0 and char in " #") or (at == last and char == " ")
        else "".join(f"\\{byte:02X}" for byte in char.encode())
        if char < " " or char == "\x7f"
        else char
        for at, char in enumerate(value)
    )
