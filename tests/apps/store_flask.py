"""A Flask app as the documentation of its extensions has it: logins of Flask-Login in sessions of
Flask-Session, a page of Flask-Caching and a limit of Flask-Limiter, all in prefork's store."""

import os

from flask import Flask, request, session
from flask_caching import Cache as PageCache
from flask_limiter import Limiter
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from flask_session import Session

import prefork
import prefork.adapters.limits  # registers prefork://
from prefork.adapters.cachelib import Cache

app = Flask(__name__)
app.config.update(
    SECRET_KEY=prefork.secret("flask"),
    SESSION_TYPE="cachelib",
    SESSION_CACHELIB=Cache(),
    CACHE_TYPE="prefork.adapters.cachelib.FlaskCache",
)
Session(app)
pages = PageCache(app)
limiter = Limiter(lambda: request.args["client"], app=app, storage_uri="prefork://")
logins = LoginManager(app)


class User(UserMixin):
    """A user, whose id is the name."""

    def __init__(self, name: str) -> None:
        self.id = name


@logins.user_loader
def load_user(name: str) -> User:
    return User(name)


@app.get("/login")
def login() -> str:
    login_user(User(request.args["user"]))
    session["visits"] = 0
    return "welcome"


@app.get("/visit")
@login_required
def visit() -> str:
    session["visits"] += 1
    return f"{current_user.id} {session['visits']}"


@app.get("/me")
@login_required
def me() -> str:
    return f"{current_user.id} {session['visits']}"


@app.get("/page")
@pages.cached(timeout=3600, query_string=True)
def page() -> str:
    return f"made by {os.getpid()}"


@app.get("/limited")
@limiter.limit("5/hour")
def limited() -> str:
    return "passed"
