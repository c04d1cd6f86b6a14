import os
import sys

bind = "0.0.0.0:" + os.environ["PORT"]
workers = int(os.environ["WORKERS"])
timeout = 60
graceful_timeout = 20
accesslog = None


def post_fork(_server, _worker):
    # applications of Keystone, Glance and Placement read sys.argv, and do not know our options
    del sys.argv[1:]
