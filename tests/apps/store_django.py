"""A Django app with logins of django.contrib.auth, whose sessions are in prefork's store.

SESSION_BACKEND: cache or cached_db. DATABASE: the file of SQLite, which ``python store_django.py``
creates with the users user0 to user9.
"""

import os

import django
from django.conf import settings

import prefork

settings.configure(
    SECRET_KEY=prefork.secret("django"),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    CACHES={"default": {"BACKEND": "prefork.adapters.django.Cache"}},
    SESSION_ENGINE=f"django.contrib.sessions.backends.{os.environ['SESSION_BACKEND']}",
    LOGGING={
        "version": 1,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}},
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
django.setup()

from django.contrib.auth import authenticate, get_user_model  # noqa: E402
from django.contrib.auth import login as log_in  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

PASSWORD = "open sesame"


def login(request: HttpRequest) -> HttpResponse:
    log_in(request, authenticate(username=request.GET["user"], password=PASSWORD))
    request.session["visits"] = 0
    return HttpResponse("welcome")


def me(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return HttpResponse("log in first", status=401)
    return HttpResponse(f"{request.user.username} {request.session['visits']}")


def visit(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        request.session["visits"] += 1
    return me(request)


urlpatterns = [path("login", login), path("visit", visit), path("me", me)]
app = get_wsgi_application()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    for number in range(10):
        get_user_model().objects.create_user(f"user{number}", password=PASSWORD)
