"""Write dataclasses as JSON values, and read them back by their declaration. PURE.

Design
------
- **The type annotations of the fields are the format,** so a field is declared once. Rejected:
  pickle, which executes what it reads and ties the format to the module of a class.
- **A key that is not declared is an error, a missing key has its default.** A later version that
  adds a field with a default reads what this version wrote. What a later version wrote is not read
  by halves.
"""

from collections.abc import Mapping, Set
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

REFERENCE: Mapping[str, bool] = {"is_reference": True}
"""The metadata of a field that refers to another part: it is not dumped, and given at the load."""


def dump_record(value: Any) -> Any:
    """Return ``value`` as JSON: an object for a dataclass or a mapping, a sorted list for a set.

    The keys of a mapping become text, as JSON requires.
    """
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {each.name: dump_record(getattr(value, each.name)) for each in _dumped(value)}
    if isinstance(value, Mapping):
        return {str(key): dump_record(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(map(dump_record, value))
    if isinstance(value, list | tuple):
        return list(map(dump_record, value))
    return value


def load_record(kind: type[T], dumped: object, **references: object) -> T:
    """Return the ``kind`` that ``dump_record`` wrote. Raises ValueError for anything else.

    ``kind``: a dataclass whose fields are dataclasses, enums, numbers, texts and None, or lists,
    sets and mappings of these. ``references``: its fields with the metadata ``REFERENCE``.
    """
    return _load_fields(kind, dumped, references)  # type: ignore[no-any-return]


def _load_value(kind: Any, dumped: object) -> Any:
    """Return the value of the annotated type ``kind``. Raises ValueError."""
    if kind is Any:
        return dumped
    if isinstance(kind, UnionType):
        return _load_alternative(get_args(kind), dumped)
    origin = get_origin(kind)
    if origin is not None:
        return _load_collection(origin, get_args(kind), dumped)
    if is_dataclass(kind):
        return _load_fields(kind, dumped, {})
    if issubclass(kind, Enum):
        return kind(dumped)  # raises ValueError
    allowed = (int, float) if kind is float else (kind,)
    if type(dumped) not in allowed:
        raise ValueError(f"{dumped!r} is not of the type {kind.__name__}")
    return dumped


def _load_alternative(kinds: tuple[Any, ...], dumped: object) -> Any:
    """Return the first of the types that fits. Raises ValueError if none does."""
    reasons = []
    for kind in kinds:
        try:
            return _load_value(kind, dumped)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; ".join(reasons))


def _load_collection(origin: Any, arguments: tuple[Any, ...], dumped: object) -> Any:
    """Return a list, a set or a dict. Raises ValueError."""
    if issubclass(origin, Mapping):
        if not isinstance(dumped, Mapping):
            raise ValueError(f"{dumped!r} is not an object")
        key_type, item_type = arguments
        return {key_type(key): _load_value(item_type, item) for key, item in dumped.items()}
    if not isinstance(dumped, list):
        raise ValueError(f"{dumped!r} is not a list")
    return origin(_load_value(arguments[0], item) for item in dumped)


def _load_fields(kind: Any, dumped: object, references: Mapping[str, object]) -> Any:
    """Return a dataclass. Raises ValueError."""
    if not isinstance(dumped, Mapping):
        raise ValueError(f"{dumped!r} is not an object")
    declared: dict[str, Field[Any]] = {each.name: each for each in _dumped(kind)}
    if unknown := sorted(set(dumped) - set(declared)):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    missing = [name for name in declared if name not in dumped and _is_required(declared[name])]
    if missing:
        raise ValueError(f"{kind.__name__} lacks {', '.join(missing)}")
    types = get_type_hints(kind)
    loaded = {name: _load_value(types[name], item) for name, item in dumped.items()}
    return kind(**loaded, **references)


def _dumped(kind: Any) -> list[Field[Any]]:
    """Return the fields of a dataclass that are dumped."""
    return [each for each in fields(kind) if not each.metadata.get("is_reference")]


def _is_required(declared: Field[Any]) -> bool:
    return declared.default is MISSING and declared.default_factory is MISSING
