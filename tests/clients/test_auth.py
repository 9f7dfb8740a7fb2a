"""Verified users on one machine: scripts/local.sh --auth, with the clients of this repository."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import pexpect
import pytest

from conftest import BUILD_SECONDS
from gateway import ROOT, ready

KEY = ROOT / ".tools/local/auth/key.pem"

LIMITS = "limits={ per_user = 200, per_room = 0, frames_per_second = 10000, burst = 10000 }"


@pytest.fixture(scope="module")
def verified():
    process = subprocess.Popen(
        # The tests say more in a second than a person does.
        [ROOT / "scripts/local.sh", "--auth", "--port", "0", "--log", "text", "--verbose", "--var", LIMITS],
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
    )
    gateway = ready(process, BUILD_SECONDS)
    yield gateway
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0
    # No line of the gateway or of a function holds a token.
    assert "eyJ" not in "".join(gateway.printed)


def token(binary, user, *arguments, key=KEY):
    command = [binary, "token", "--key-file", key, "--user", user, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def chat(binary, gateway, *arguments, lines=()):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [binary, "--json", *arguments, gateway.url], input=text, capture_output=True, text=True, timeout=90
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_printed_lines_let_two_users_chat(verified):
    # They may come after the line that says that the gateway is ready.
    until = time.monotonic() + 30
    while len(lines := re.findall(r"^ *CHAT_URL=\S+ (CHAT_TOKEN=.*)$", "".join(verified.printed), re.MULTILINE)) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)

    def terminal(line):
        return pexpect.spawn(
            "bash", ["-c", f"CHAT_URL={verified.url} {line}"], cwd=ROOT, encoding="utf-8", timeout=30, dimensions=(50, 500)
        )

    alice, bob = map(terminal, lines)
    alice.expect_exact("Connected")
    bob.expect_exact("Connected")
    alice.sendline('{"action":"publish","data":"hi bob"}')
    bob.expect_exact('"from":"alice"')
    alice.close(force=True)
    bob.close(force=True)


def test_the_user_is_the_one_of_the_token(binary, verified, tmp_path):
    file = tmp_path / "token"
    file.write_text(token(binary, "alice") + "\n")
    publish = {"action": "publish", "data": "hi", "id": "4be7a3c2-9c38-4d0e-8f6a-3f0f3c1c9a11"}
    status, events, _ = chat(binary, verified, "--room", "who", "--token-file", file, lines=[publish])
    assert status == 0
    assert [event["from"] for event in events if event["type"] == "message"] == ["alice"]

    status, _, words = chat(binary, verified, "--room", "who", "--user", "bob", "--token-file", file)
    assert status == 2 and "(400)" in words
    status, _, words = chat(binary, verified, "--room", "who")
    assert status == 2 and "(401)" in words


def test_one_user_writes_to_another_who_finds_it_later(binary, verified, tmp_path):
    for user in ("dora", "emil"):
        (tmp_path / user).write_text(token(binary, user))
    publish = {"action": "publish", "to": "emil", "data": "hi emil", "id": "0d4a3c55-2f6e-4b0b-9a5e-6a1f3a7e9c21"}
    status, events, _ = chat(binary, verified, "--room", "dm", "--token-file", tmp_path / "dora", lines=[publish])
    assert status == 0, events
    (said,) = [event for event in events if event["type"] == "message"]
    assert (said["room"], said["from"], said["data"]) == ("@dora&emil", "dora", "hi emil")

    unread = {"action": "unread", "id": "u"}
    status, events, _ = chat(binary, verified, "--room", "dm", "--token-file", tmp_path / "emil", lines=[unread])
    assert status == 0, events
    (found,) = [event for event in events if event["type"] == "unread"]
    assert found == {"type": "unread", "id": "u", "rooms": {"@dora&emil": 1}}


def test_three_handshakes_with_a_forged_token_are_enough(binary, verified, tmp_path):
    subprocess.run([binary, "token", "--new-key", tmp_path / "other"], capture_output=True, check=True)
    file = tmp_path / "token"
    file.write_text(token(binary, "alice", key=tmp_path / "other/key.pem"))
    status, events, words = chat(binary, verified, "--token-file", file)
    assert status == 2 and "(403)" in words
    assert [event["type"] for event in events] == ["disconnected", "disconnected"]


def test_a_right_that_the_token_lacks_is_reported(binary, verified, tmp_path):
    file = tmp_path / "token"
    file.write_text(token(binary, "carol", "--room", "news=join"))
    lines = [
        {"action": "publish", "data": "hi", "id": "p"},
        {"action": "join", "room": "vault", "id": "j"},
    ]
    status, events, _ = chat(binary, verified, "--room", "news", "--token-file", file, lines=lines)
    errors = [(event["id"], event["name"]) for event in events if event["type"] == "error"]
    assert sorted(errors) == [("j", "forbidden"), ("p", "forbidden")]
    assert status == 2


def test_a_moderator_types_kick_ban_and_mute(binary, verified, tmp_path):
    for user, rights in (("mod", "join,history,publish,moderate"), ("dan", "join,history,publish")):
        (tmp_path / user).write_text(token(binary, user, "--room", f"court={rights}", "--room", "hall=join,publish"))

    def terminal(user, *rooms):
        arguments = [argument for room in rooms for argument in ("--room", room)]
        child = pexpect.spawn(
            binary,
            [verified.url, "--token-file", str(tmp_path / user), *arguments],
            encoding="utf-8",
            timeout=30,
            dimensions=(50, 200),
        )
        for room in rooms:
            child.expect_exact(f"* in {room}")
        return child

    mod, dan = terminal("mod", "court"), terminal("dan", "hall", "court")
    mod.sendline("/mute dan 1h shouting")
    mod.expect_exact("* dan may not write any more in court until 2")
    dan.sendline("/room court")
    dan.expect_exact("court> ")
    dan.sendline("HELLO")
    dan.expect_exact("! ")
    mod.sendline("/unmute dan")
    mod.expect_exact("* dan may write again in court")
    dan.sendline("hello")
    mod.expect_exact("#1 dan: hello")
    mod.sendline("/ban dan 1h spam")
    dan.expect_exact("* mod has banned you from court until 2")
    mod.expect_exact("* dan is banned from court until 2")
    # The other room is as before, and the banned one cannot be joined.
    dan.expect_exact("you are writing to hall")
    dan.sendline("/join court")
    dan.expect_exact("! ")
    mod.sendline("/unban dan")
    mod.expect_exact("* dan is not banned any more from court")
    dan.sendline("/join court")
    dan.expect_exact("* in court")
    mod.sendline("/kick dan")
    dan.expect_exact("* mod has removed you from court")
    dan.sendline("/kick mod")
    dan.expect_exact("! ")
    # Whoever is removed from the only room ends.
    alone = terminal("dan", "court")
    mod.sendline("/kick dan")
    alone.expect_exact("mod has removed you from court")
    alone.expect(pexpect.EOF)
    alone.wait()
    assert alone.exitstatus == 2
    for child in (mod, dan):
        child.close(force=True)


def test_connections_are_renewed_before_their_tokens_end_and_nothing_is_missed(binary, verified):
    def start(user, life):
        command = f"{binary} token --key-file {KEY} --user {user} --for {life}"
        return subprocess.Popen(
            [binary, "--json", "--room", "renew", "--token-command", command, verified.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    listener, speaker = start("alice", "8s"), start("bob", "6s")
    heard, said = [], []

    def read(process, events):
        for line in process.stdout:
            events.append(json.loads(line))

    readers = [threading.Thread(target=read, args=pair) for pair in ((listener, heard), (speaker, said))]
    for reader in readers:
        reader.start()
    until = time.monotonic() + 60
    while not any(event["type"] == "joined" for event in heard):
        assert time.monotonic() < until
        time.sleep(0.05)
    for number in range(150):
        speaker.stdin.write(json.dumps({"action": "publish", "data": number}) + "\n")
        speaker.stdin.flush()
        time.sleep(0.1)
    speaker.stdin.close()
    assert speaker.wait(timeout=90) == 0
    while len([event for event in heard if event["type"] == "message"]) < 150:
        assert time.monotonic() < until + 60, heard[-5:]
        time.sleep(0.05)
    listener.stdin.close()
    assert listener.wait(timeout=90) == 0
    for reader in readers:
        reader.join()
    for events in (heard, said):
        assert [event["data"] for event in events if event["type"] == "message"] == list(range(150))
        assert not [event for event in events if event["type"] in ("lost", "disconnected", "error")]
        assert len([event for event in events if event["type"] == "connected" and event["renewed"]]) >= 2
