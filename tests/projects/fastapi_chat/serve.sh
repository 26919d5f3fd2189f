#!/bin/sh
exec uvicorn --host 127.0.0.1 --port "${PORT:-8000}" --workers 2 --proxy-headers --forwarded-allow-ips 127.0.0.1 --timeout-graceful-shutdown 10 --log-level info chat.main:app
