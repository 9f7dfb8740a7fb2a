"""Waits for a gateway that has just been started, for the clients in Python."""

import pathlib
import re
import threading
import types

import boto3
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def ready(process, seconds):
    """Waits until a gateway that has just been started can be used, at most so long. Returns what it prints, a list that
    goes on growing, its WebSocket URL, and a boto3 session and client for its tables."""
    watchdog = threading.Timer(seconds, process.kill)
    # The end of the tests does not wait for it.
    watchdog.daemon = True
    watchdog.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("Ready"):
            break
    else:
        pytest.fail("the gateway ended before it was ready:\n" + "".join(printed))
    watchdog.cancel()
    # It goes on printing; somebody has to read.
    threading.Thread(target=lambda: printed.extend(process.stdout), daemon=True).start()
    address = dict(re.findall(r"^(WebSocket|DynamoDB) +(\S+)", "".join(printed), re.MULTILINE))
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
    tables = session.client("dynamodb", endpoint_url=address["DynamoDB"])
    return types.SimpleNamespace(printed=printed, url=address["WebSocket"], session=session, tables=tables)
