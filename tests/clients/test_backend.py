"""docs/backend.md is true: its three callers, as they are printed, call the backend's function of scripts/local.sh."""

import asyncio
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import websockets

from gateway import ROOT

# The page's words for this machine. The fixture checks signatures, so the secret counts here.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}

CALL = {"action": "publish", "room": "lobby", "data": "Maintenance at 6", "as": "system:ops"}


def block(language):
    """The one program of the page in this language."""
    page = (ROOT / "docs/backend.md").read_text()
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return program


@pytest.fixture
def environment(service, monkeypatch):
    endpoint = re.sub("^ws://([^/]+).*", r"http://\1", service.url)
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_LAMBDA": endpoint}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def in_javascript(folder, call):
    program = f"{block('js node')}\nconsole.log(JSON.stringify(await chat(JSON.parse(process.argv[1]))));"
    # Lambda brings the SDK, and this folder has it installed.
    node = ["node", "--input-type=module", "--eval", program, json.dumps(call)]
    done = subprocess.run(node, cwd=ROOT / "local/examples/node", capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def in_python(folder, call):
    path = folder / "backend.py"
    path.write_text(block("python boto3"))
    spec = importlib.util.spec_from_file_location("backend", path)
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    try:
        return backend.chat(**call)
    except RuntimeError as error:
        return str(error)


def conversation(service, room, call):
    """The frame that a member of the room gets because of a call, and the answer of the call."""

    async def hear():
        async with websockets.connect(f"{service.url}?room={room}&user=alice") as socket:
            answer = await asyncio.to_thread(call)
            return json.loads(await asyncio.wait_for(socket.recv(), 60)), answer

    return asyncio.run(hear())


@pytest.mark.parametrize("chat", [in_javascript, in_python])
def test_a_program_of_the_page_calls_the_backends_function(chat, environment, service, tmp_path):
    room = chat.__name__
    heard, answer = conversation(service, room, lambda: chat(tmp_path, {**CALL, "room": room, "id": "m-1"}))
    assert (heard["from"], heard["data"]) == ("system:ops", "Maintenance at 6")
    assert (answer["type"], answer["id"], answer["seq"]) == ("ack", "m-1", heard["seq"])
    # An error of the service is an error of the program, in its words.
    assert "room is missing" in chat(tmp_path, {"action": "history"})


def test_the_command_of_the_page_calls_the_backends_function(environment, service, tmp_path):
    command = block("sh cli")
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    version = subprocess.run(["aws", "--version"], env={**os.environ, "PATH": path}, capture_output=True, text=True).stdout
    if version.startswith("aws-cli/1."):
        # As the page says.
        command = command.replace(" --cli-binary-format raw-in-base64-out", "")
    run = lambda: subprocess.run(["bash", "-euc", command], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True)
    heard, done = conversation(service, "lobby", run)
    assert (heard["from"], heard["data"], heard["id"]) == ("system:ops", "Maintenance at 6", "m-1")
    assert '"type":"ack"' in done.stdout and json.loads((tmp_path / "answer.json").read_text())["seq"] == heard["seq"]
