from types import ModuleType
from typing import Any

class WsgiCalls:
    status: int
    response: bytes
    def __init__(
        self, handler: object, environ: object, http: ModuleType, children: ModuleType
    ) -> None: ...
    def call(self, connection: Any, head: Any, started_at: float, /) -> int: ...
