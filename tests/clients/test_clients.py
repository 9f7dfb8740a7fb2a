"""Clients that are not ours, against the service as scripts/local.sh runs it."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys

import botocore
import pexpect
import pytest
import websockets

from gateway import ROOT


def join(service, room, user):
    return websockets.connect(f"{service.url}?room={room}&user={user}")


async def ask(client, frame):
    await client.send(json.dumps(frame))
    return json.loads(await client.recv())


# --- wscat, by scripts/chat.sh ------------------------------------------------------------------------------------


def test_two_people_chat(chat):
    alice = chat("corner", "alice")
    alice.expect_exact("Connected")
    bob = chat("corner", "bob")
    bob.expect_exact("Connected")

    alice.sendline('{"action":"publish","data":"hi bob"}')
    alice.expect(r'< \{"type":"ack","room":"corner","seq":1,"epoch":"\w{26}","n":1,"at":\d+,"delivered":1,"gone":0,"failed":0\}')
    bob.expect(r'< \{"type":"message","room":"corner","seq":1,"epoch":"\w{26}","n":1,"from":"alice","data":"hi bob"')
    bob.sendline('{"action":"publish","data":"hi alice"}')
    alice.expect_exact('"from":"bob","data":"hi alice"')

    # Somebody who just types is told what to type.
    bob.sendline("hello?")
    bob.expect_exact('"name":"bad_request"')
    bob.expect_exact(r'{\"action\":\"publish\",\"data\":\"hi\"}')

    # Ctrl-C leaves, and the room knows.
    bob.sendintr()
    bob.expect(pexpect.EOF)
    for _ in range(50):
        alice.sendline('{"action":"publish","data":"still there?"}')
        alice.expect(r'"delivered":(\d)')
        if alice.match.group(1) == "0":
            return
    pytest.fail("bob is still in the room")


def test_the_lobby_is_the_default_and_names_are_encoded(chat):
    guest = chat()
    guest.expect_exact("Connected")
    guest.sendline('{"action":"publish","data":1}')
    guest.expect_exact('"room":"lobby"')

    alice = chat("комната:1", "ünal")
    alice.expect_exact("Connected")
    alice.sendline('{"action":"publish","data":1}')
    alice.expect_exact('"room":"комната:1"')


def test_a_bad_name_is_refused_with_a_hint(chat):
    child = chat("two words")
    child.expect_exact("400")
    child.expect_exact("1 to 64 letters")
    child.wait()
    assert child.exitstatus != 0


def test_chat_keeps_a_query_that_the_url_has_already(chat, service):
    child = chat("tea", url=f"{service.url}?token=abc")
    child.expect_exact("?token=abc&room=tea")
    child.expect_exact("Connected")


@pytest.mark.terraform
def test_it_finds_the_deployed_stack(chat, service, tmp_path):
    # A checkout with the state that `terraform apply` leaves behind, in which the stack is the local service.
    shutil.copytree(ROOT / "scripts", tmp_path / "checkout/scripts", symlinks=True)
    shutil.copytree(ROOT / "terraform", tmp_path / "checkout/terraform", ignore=shutil.ignore_patterns(".terraform"))
    state = {
        "version": 4,
        "terraform_version": "1.9.0",
        "serial": 1,
        "lineage": "test",
        "outputs": {"websocket_url": {"value": service.url, "type": "string"}},
        "resources": [],
    }
    (tmp_path / "checkout/terraform/terraform.tfstate").write_text(json.dumps(state))
    init = ". scripts/lib.sh; . scripts/terraform.sh; terraform_ready; terraform -chdir=terraform init -input=false"
    subprocess.run(["bash", "-c", init], cwd=tmp_path / "checkout", check=True, capture_output=True, timeout=120)
    child = chat("lobby", "alice", url="", root=tmp_path / "checkout")
    child.expect_exact(service.url)
    child.expect_exact("Connected")


def run(script, *arguments, **environment):
    return subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("script", ["chat.sh", "local.sh"])
def test_help(script):
    done = run(script, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: scripts/" + script)


def test_wrong_arguments_get_one_sentence():
    for arguments in (["--loud"], ["a", "b", "c"]):
        done = run("chat.sh", *arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and "--help" in done.stderr


def test_without_node_it_says_what_to_install(tmp_path):
    for tool in ("bash", "dirname", "cat", "grep"):
        (tmp_path / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    done = run("chat.sh", PATH=str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "Install Node.js" in done.stderr


def test_without_a_service_it_says_what_to_start():
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 3000)) == 0:
            pytest.fail("something listens on port 3000: stop it, this test needs the port free")
    done = run("chat.sh", CHAT_URL="")
    assert done.returncode == 2
    assert "scripts/local.sh" in done.stderr


def test_flags_reach_the_gateway():
    done = run("local.sh", "--frobnicate")
    assert done.returncode == 2
    assert "unexpected argument '--frobnicate'" in done.stderr


# --- Python's websockets --------------------------------------------------------------------------------------------


def test_the_same_conversation_with_websockets(service):
    async def conversation():
        async with join(service, "py", "alice") as alice, join(service, "py", "bob") as bob, join(service, "js", "eve") as eve:
            ack = await ask(alice, {"action": "publish", "data": {"n": 1}, "id": "x"})
            assert (ack["type"], ack["id"], ack["delivered"]) == ("ack", "x", 1)
            message = json.loads(await bob.recv())
            assert (message["from"], message["data"], message["id"]) == ("alice", {"n": 1}, "x")
            assert await ask(eve, {"action": "ping"}) == {"type": "pong"}
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await websockets.connect(f"{service.url}?room=%20")
        assert refused.value.response.status_code == 400

    asyncio.run(conversation())


def test_large_and_binary_messages_close_as_on_aws(service):
    async def closes(payload):
        async with join(service, "py", "alice") as alice:
            await alice.send(payload)
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                await asyncio.wait_for(alice.recv(), 30)
            return closed.value.rcvd.code

    # This library sends a message in one frame.
    assert asyncio.run(closes("x" * 32_769)) == 1009
    assert asyncio.run(closes("x" * 200_000)) == 1009
    assert asyncio.run(closes(b"binary")) == 1003


# --- boto3 on @connections ------------------------------------------------------------------------------------------


def test_boto3_posts_looks_and_disconnects(service):
    api = service.management

    async def scenario():
        async with join(service, "boto", "alice") as alice:
            connection_id = service.connection_in("boto")
            await asyncio.to_thread(api.post_to_connection, ConnectionId=connection_id, Data=b"from boto3")
            assert await alice.recv() == "from boto3"
            seen = await asyncio.to_thread(api.get_connection, ConnectionId=connection_id)
            assert seen["Identity"]["SourceIp"] == "127.0.0.1"
            assert seen["LastActiveAt"] >= seen["ConnectedAt"]
            with pytest.raises(api.exceptions.PayloadTooLargeException):
                api.post_to_connection(ConnectionId=connection_id, Data=b"x" * 131_073)

            await asyncio.to_thread(api.delete_connection, ConnectionId=connection_id)
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                await alice.recv()
            assert closed.value.rcvd.code == 1000
            for call in (
                lambda: api.post_to_connection(ConnectionId=connection_id, Data=b"x"),
                lambda: api.get_connection(ConnectionId=connection_id),
                lambda: api.delete_connection(ConnectionId=connection_id),
            ):
                with pytest.raises(api.exceptions.GoneException):
                    call()
        with pytest.raises(botocore.exceptions.ClientError) as malformed:
            api.get_connection(ConnectionId="nonsense")
        assert malformed.value.response["Error"]["Code"] == "BadRequestException"

    asyncio.run(scenario())


# --- The AWS CLI on @connections ------------------------------------------------------------------------------------


def cli(service, command, connection_id, *more):
    """A call of the AWS CLI: its exit status, what it answers, and what it complains of."""
    endpoint = service.management.meta.endpoint_url
    arguments = ["apigatewaymanagementapi", command, f"--connection-id={connection_id}", "--endpoint-url", endpoint]
    credentials = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *arguments, *more],
        env=os.environ | credentials,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_aws_cli_posts_looks_and_disconnects(service):
    async def scenario():
        def call(*arguments):
            return asyncio.to_thread(cli, service, *arguments)

        async with join(service, "cli", "alice") as alice:
            connection_id = service.connection_in("cli")
            assert await call("post-to-connection", connection_id, "--data", "from the CLI") == (0, "", "")
            assert await alice.recv() == "from the CLI"
            status, seen, _ = await call("get-connection", connection_id)
            assert (status, json.loads(seen)["Identity"]["SourceIp"]) == (0, "127.0.0.1")
            assert await call("delete-connection", connection_id) == (0, "", "")
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await alice.recv()
            status, _, complaint = await call("get-connection", connection_id)
            assert status != 0 and "GoneException" in complaint
        status, _, complaint = await call("get-connection", "nonsense")
        assert status != 0 and "Invalid connectionId: nonsense" in complaint

    asyncio.run(scenario())
