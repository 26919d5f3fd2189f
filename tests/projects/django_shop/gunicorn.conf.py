"""How ``gunicorn mysite.wsgi`` serves the shop."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 2
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 20
max_requests = 1000
max_requests_jitter = 100
raw_env = ["DJANGO_SETTINGS_MODULE=mysite.settings"]
proc_name = "shop"
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(D)s'


def post_fork(server, worker):
    """Log the pid of a new worker."""
    server.log.info("worker %s serves the shop", worker.pid)
