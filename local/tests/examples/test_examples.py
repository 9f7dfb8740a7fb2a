"""local/examples as a newcomer runs them: unmodified functions with the AWS SDKs, behind the gateway."""

import asyncio
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time

import pytest
import websockets

from gateway import ROOT, ready

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EXAMPLES = ROOT / "local/examples"
HANDLERS = {"node": "function/index.mjs", "python": "function/index.py"}


@pytest.fixture(scope="session")
def gateway_binary():
    # Not by -p: cargo would compile the shared crates again, with fewer features.
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "roomchat-local"], cwd=ROOT, check=True)
    return TARGET / "debug/roomchat-local"


@pytest.fixture
def gateway(gateway_binary, tmp_path):
    """Starts the gateway for a Terraform folder; it ends with the test."""
    running = []

    def start(folder):
        authority = tmp_path / f"authority-{len(running)}.pem"
        flags = ["--port", "0", "--log", "text", "--check-signatures", "--secret", "local", "--ca-file", authority]
        process = subprocess.Popen(
            # Few processes: more that load an SDK at once could take a busy machine longer than Lambda's ten seconds.
            [gateway_binary, "--terraform", folder, "--processes", "2", *flags],
            stdout=subprocess.PIPE,
            text=True,
            # The folder of boto3.
            env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        )
        started = ready(process, 60)
        started.authority = str(authority)
        running.append((process, started.printed))
        return started

    yield start
    for process, printed in running:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            # Shown when the test has failed.
            print("".join(printed))


def eventually(what, condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


async def receive(client):
    return json.loads(await asyncio.wait_for(client.recv(), 30))


async def say(client, data):
    await client.send(json.dumps({"action": "say", "data": data}))


def ids(service, language):
    rows = service.tables.scan(TableName=f"example-{language}-connections", ConsistentRead=True)["Items"]
    return {row["connectionId"]["S"] for row in rows}


@pytest.mark.parametrize("language", HANDLERS)
def test_an_example_talks_and_prunes(gateway, language):
    service = gateway(EXAMPLES / language)
    # The id of a connection that is not open. A lost $disconnect leaves such a row.
    ghost = "T0aBceHkDoECIQw="
    trust = ssl.create_default_context(cafile=service.authority)

    async def conversation():
        async with websockets.connect(service.url) as alice:
            # Over TLS the function is told of the same host and port.
            secure = service.url.replace("ws://", "wss://")
            async with websockets.connect(secure, ssl=trust) as bob, websockets.connect(service.url) as carol:
                await asyncio.to_thread(
                    service.tables.put_item,
                    TableName=f"example-{language}-connections",
                    Item={"connectionId": {"S": ghost}},
                )
                await say(alice, "hello")
                assert await receive(bob) == await receive(carol) == {"data": "hello"}
                assert await receive(alice) == {"heardBy": 2}
                assert ghost not in ids(service, language)
                await say(bob, {"ünïcode": [1, None]})
                assert await receive(alice) == {"data": {"ünïcode": [1, None]}}
                assert await receive(bob) == {"heardBy": 2}
                # Several at once.
                for number in range(8):
                    await say(alice, number)
                assert sorted([(await receive(carol))["data"] for _ in range(9)], key=str) == sorted(
                    [{"ünïcode": [1, None]}, *range(8)], key=str
                )
                assert [await receive(alice) for _ in range(8)] == [{"heardBy": 2}] * 8
            # The others' $disconnect has run.
            await asyncio.to_thread(eventually, "one row", lambda: len(ids(service, language)) == 1)
            await say(alice, "anybody?")
            assert await receive(alice) == {"heardBy": 0}

    asyncio.run(conversation())
    eventually("no row", lambda: not ids(service, language))


FAILING = {
    ("node", "throws"): ('case "say":', 'case "say": throw new TypeError("as told");', "Error: TypeError: as told"),
    ("python", "throws"): ('route == "say":', 'route == "say":\n        raise TypeError("as told")', "Error: TypeError: as told"),
    ("node", "hangs"): ('case "say":', 'case "say": await new Promise((done) => setTimeout(done, 60000));', "Task timed out after 1.00 seconds"),
    ("python", "hangs"): ('route == "say":', 'route == "say":\n        import time; time.sleep(60)', "Task timed out after 1.00 seconds"),
}


@pytest.mark.parametrize("language,how", FAILING)
def test_a_handler_that_fails_tells_its_client(gateway, tmp_path, language, how):
    before, after, logged = FAILING[language, how]
    folder = changed(language, tmp_path, before, after)
    if how == "hangs":
        terraform = folder / "main.tf"
        terraform.write_text(re.sub(r"timeout +=.*", "timeout = 1", terraform.read_text()))
    service = gateway(folder)

    async def conversation():
        for _ in range(10):
            try:
                client = await websockets.connect(service.url)
                break
            except websockets.exceptions.InvalidStatus:
                # Its $connect took longer than a second on a busy machine.
                assert how == "hangs"
        async with client:
            await say(client, "x")
            answer = await receive(client)
            assert set(answer) == {"message", "connectionId", "requestId"}
            assert answer["message"] == "Internal server error"

    asyncio.run(conversation())
    eventually(logged, lambda: any(logged in line for line in service.printed))


@pytest.mark.parametrize(
    "language,module,told",
    [
        ("node", "@aws-sdk/client-nonsense", "here `npm install @aws-sdk/client-nonsense`"),
        ("node", "no-such-package", "Runtime.ImportModuleError\tError: Error: Cannot find package 'no-such-package'"),
        ("python", "no_such_package", "Runtime.ImportModuleError\tError: Unable to import module 'index': No module named 'no_such_package'"),
    ],
)
def test_a_module_that_cannot_be_loaded_refuses_the_client(gateway, tmp_path, language, module, told):
    statement = f'import "{module}";\n' if language == "node" else f"import {module}\n"
    first = "import {" if language == "node" else "import json"
    service = gateway(changed(language, tmp_path, first, statement + first))

    async def refused():
        with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
            await websockets.connect(service.url)
        assert refusal.value.response.status_code == 502

    asyncio.run(refused())
    eventually(told, lambda: any(told in line for line in service.printed))


def changed(language, tmp_path, before, after):
    """A copy of an example, with another text in its handler."""
    folder = tmp_path / language
    shutil.copytree(EXAMPLES / language, folder, symlinks=True)
    handler = folder / HANDLERS[language]
    text = handler.read_text()
    assert before in text
    handler.write_text(text.replace(before, after, 1))
    return folder
