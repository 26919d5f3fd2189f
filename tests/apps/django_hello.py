"""The smallest Django project that reads and writes, as WSGI and as ASGI."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path

settings.configure(
    SECRET_KEY="for tests only",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"]},
    },
)
django.setup()


def hello(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"Hello {name}, {request.GET.get('greeting', '')}!")


def total(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"sum": sum(json.loads(request.body))})


def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.FILES["file"].size))


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(os.environ["FILE"]).open("rb"))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(apieces() if isinstance(request, ASGIRequest) else pieces())


def pieces() -> Iterator[str]:
    for number in range(3):
        yield f"{number} "


async def apieces() -> AsyncIterator[str]:
    for piece in pieces():
        yield piece


async def slowly(request: HttpRequest) -> HttpResponse:
    return HttpResponse("async view")


def fails(request: HttpRequest) -> HttpResponse:
    raise LookupError("a bug in the app")


urlpatterns: list[Any] = [
    path("hello/<str:name>", hello),
    path("sum", total),
    path("upload", upload),
    path("file", file),
    path("stream", stream),
    path("async", slowly),
    path("fails", fails),
]

wsgi = get_wsgi_application()
asgi = get_asgi_application()
