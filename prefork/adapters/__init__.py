"""The store of all workers as frameworks want it. An app imports the file of its framework.

Each file needs its framework, which is no dependency of prefork. Nothing in prefork imports them.

cachelib.py      Cache for Flask-Session, FlaskCache for Flask-Caching
django.py        a cache backend: CACHES, and sessions in the cache
limits.py        storages prefork:// and async+prefork:// for Flask-Limiter and slowapi
starsessions.py  Store for sessions of Starlette and FastAPI
store_access.py  what the adapters have in common: keys of any length, times of any kind
"""
