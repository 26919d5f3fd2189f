from collections.abc import Callable
from types import ModuleType
from typing import Any

class AsgiCalls:
    status: int
    response: bytes
    def __init__(
        self, handler: object, scopes: object, start: Callable[[Any], object], http: ModuleType
    ) -> None: ...
    def call(self, connection: Any, head: Any, started_at: float, /) -> int: ...

def find_running_call() -> Any: ...
