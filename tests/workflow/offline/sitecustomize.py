"""Loaded by every Python process of a run: refuses and writes down every connection.

With HEADIMPACT_LOOPBACK set, those to a server of the test on this machine are let through.
"""

import os
import socket
from pathlib import Path

_connect = socket.socket.connect


def _refuse(self, address):
    local = os.environ.get("HEADIMPACT_LOOPBACK") and address[0] == "127.0.0.1"
    if self.family == socket.AF_UNIX or local:
        return _connect(self, address)
    with Path(os.environ["HEADIMPACT_CONNECTIONS"]).open("a") as tries:
        tries.write(f"{address}\n")
    raise OSError(f"no network in this test: {address}")


socket.socket.connect = _refuse
