"""A FastAPI app with sessions of starsessions and limits of slowapi and of limits itself, all in
prefork's store."""

from fastapi import FastAPI, HTTPException
from limits import RateLimitItemPerHour
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starsessions import SessionAutoloadMiddleware, SessionMiddleware

import prefork.adapters.limits  # noqa: F401 - registers prefork://
from prefork.adapters.starsessions import Store

app = FastAPI()
app.add_middleware(SessionAutoloadMiddleware)
app.add_middleware(SessionMiddleware, store=Store(), lifetime=3600, cookie_https_only=False)

limiter = Limiter(key_func=lambda request: request.query_params["client"], storage_uri="prefork://")
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

FIVE = RateLimitItemPerHour(5)
async_limiter = FixedWindowRateLimiter(storage_from_string("async+prefork://"))


@app.get("/login")
async def login(request: Request, user: str) -> PlainTextResponse:
    request.session.update(user=user, visits=0)
    return PlainTextResponse("welcome")


@app.get("/visit")
async def visit(request: Request) -> PlainTextResponse:
    request.session["visits"] += 1
    return await me(request)


@app.get("/me")
async def me(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.session['user']} {request.session['visits']}")


@app.get("/limited")
@limiter.limit("5/hour")
async def limited(request: Request) -> PlainTextResponse:
    return PlainTextResponse("passed")


@app.get("/async-limited")
async def async_limited(client: str) -> PlainTextResponse:
    if not await async_limiter.hit(FIVE, client):
        raise HTTPException(429)
    return PlainTextResponse("passed")
