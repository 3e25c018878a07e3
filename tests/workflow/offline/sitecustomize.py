"""Loaded by every Python process of a run: refuses and writes down every connection."""

import os
import socket
from pathlib import Path

_connect = socket.socket.connect


def _refuse(self, address):
    if self.family == socket.AF_UNIX:
        return _connect(self, address)
    with Path(os.environ["HEADIMPACT_CONNECTIONS"]).open("a") as tries:
        tries.write(f"{address}\n")
    raise OSError(f"no network in this test: {address}")


socket.socket.connect = _refuse
