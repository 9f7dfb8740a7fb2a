"""docs/identity.md is true: its programs sign tokens that the service accepts."""

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess

import pytest
import websockets

from gateway import ROOT, ready

SECONDS = 30 * 60


def block(language):
    """The one program of the page in this language."""
    page = (ROOT / "docs/identity.md").read_text()
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return program


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backend")
    # The page's command, from the folder of the backend.
    page = (ROOT / "docs/identity.md").read_text()
    (command,) = re.findall(r"^cargo run .* token --new-key keys$", page, re.MULTILINE)
    manifest = f"cargo run --manifest-path {ROOT / 'Cargo.toml'}"
    subprocess.run(command.replace("cargo run", manifest).split(), cwd=folder, check=True, timeout=SECONDS)
    return folder


@pytest.fixture(scope="module")
def url(keys):
    jwks = (keys / "keys/jwks.json").read_text()
    auth = f'{{issuer="my-backend",audience=["chat"],jwks={json.dumps(jwks)}}}'
    flags = ["--port", "0", "--log", "text", "--var", f"auth={auth}"]
    process = subprocess.Popen(
        [ROOT / "scripts/local.sh", *flags], stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True
    )
    yield ready(process, SECONDS).url
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0


def in_javascript(folder, user, rooms):
    (folder / "signer.mjs").write_text(block("js signer"))
    program = f"import {{ token }} from './signer.mjs'; process.stdout.write(token({json.dumps(user)}, {json.dumps(rooms)}));"
    node = ["node", "--input-type=module", "--eval", program]
    return subprocess.run(node, cwd=folder, check=True, capture_output=True, text=True).stdout


def in_python(folder, user, rooms):
    path = folder / "signer.py"
    path.write_text(block("python signer"))
    spec = importlib.util.spec_from_file_location("signer", path)
    signer = importlib.util.module_from_spec(spec)
    here = os.getcwd()
    os.chdir(folder)
    try:
        spec.loader.exec_module(signer)
    finally:
        os.chdir(here)
    return signer.token(user, rooms)


@pytest.mark.parametrize("sign", [in_javascript, in_python])
def test_a_signer_of_the_page_lets_a_user_in(sign, keys, url):
    token = sign(keys, "alice", {"team-*": ["join", "publish"]})

    async def conversation():
        # As a browser does.
        subprotocols = ["roomchat.v1", f"roomchat.token.{token}"]
        async with websockets.connect(f"{url}?room=team-red", subprotocols=subprotocols) as socket:
            assert socket.subprotocol == "roomchat.v1"

            async def ask(frame):
                await socket.send(json.dumps(frame))
                return json.loads(await socket.recv())

            joined = await ask({"action": "join", "room": "team-red"})
            assert (joined["type"], joined["user"]) == ("joined", "alice")
            assert (await ask({"action": "publish", "data": "hi"}))["type"] == "ack"
            refused = await ask({"action": "join", "room": "garden"})
            assert (refused["name"], refused["right"]) == ("forbidden", "join")

        for headers, status in [({}, 401), ({"Authorization": f"Bearer {token}x"}, 403)]:
            with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
                await websockets.connect(f"{url}?room=team-red", additional_headers=headers)
            assert refusal.value.response.status_code == status

    asyncio.run(conversation())


def test_the_page_shows_ten_lines_for_each():
    for language in ["js signer", "python signer"]:
        lines = [line for line in block(language).splitlines() if line.strip()]
        assert len(lines) <= 12, language
