"""Starts what a newcomer starts: scripts/local.sh, on a free port."""

import os
import signal
import subprocess
import types

import pexpect
import pytest

from gateway import ROOT, ready

# Only hit when something hangs; the first build takes minutes.
BUILD_SECONDS = 30 * 60


@pytest.fixture(scope="session")
def binary():
    """The terminal client."""
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "roomchat"], cwd=ROOT, check=True)
    return str(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) + "/debug/roomchat"


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    authority = tmp_path_factory.mktemp("service") / "authority.pem"
    flags = ["--port", "0", "--log", "text", "--check-signatures", "--secret", "local", "--ca-file", authority]
    # The tests say more in a second than a person does.
    flags += ["--var", "limits={ per_user = 200, per_room = 0, frames_per_second = 10000, burst = 10000 }"]
    process = subprocess.Popen(
        [ROOT / "scripts/local.sh", *flags],
        stdout=subprocess.PIPE,
        text=True,
        # As from another folder and terminal: its signals are its own.
        cwd="/",
        start_new_session=True,
    )
    gateway = ready(process, BUILD_SECONDS)
    url = gateway.url

    def connection_in(room):
        """The id of the only connection in a room."""
        members = gateway.tables.query(
            TableName="roomchat-prod-connections",
            IndexName="room-index",
            KeyConditionExpression="room = :room",
            ExpressionAttributeValues={":room": {"S": room}},
        )
        (member,) = members["Items"]
        return member["connectionId"]["S"]

    management = gateway.session.client("apigatewaymanagementapi", endpoint_url=url.replace("ws://", "http://"))
    yield types.SimpleNamespace(
        url=url, management=management, connection_in=connection_in, authority=str(authority)
    )
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0


@pytest.fixture
def chat(service):
    """Runs scripts/chat.sh in a terminal of its own."""
    running = []

    def start(*arguments, url=service.url, root=ROOT):
        child = pexpect.spawn(
            str(root / "scripts/chat.sh"),
            [str(argument) for argument in arguments],
            env={**os.environ, "CHAT_URL": url},
            encoding="utf-8",
            timeout=30,
            # wscat shortens nothing then.
            dimensions=(50, 500),
        )
        child.setecho(False)
        running.append(child)
        return child

    yield start
    for child in running:
        child.close(force=True)
