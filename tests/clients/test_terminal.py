"""The terminal client of clients/terminal against the service as scripts/local.sh runs it."""

import json
import os
import signal
import subprocess
import threading
import time

import pexpect
import pytest


class Program:
    """A client in --json mode, and all it has said so far."""

    def __init__(self, binary, url, *arguments, environment=None):
        self.process = subprocess.Popen(
            [binary, "--json", *arguments, url],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.events = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def write(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def of(self, kind):
        return [event for event in list(self.events) if event["type"] == kind]

    def wait(self, what, condition, seconds=60):
        until = time.monotonic() + seconds
        while not condition(self):
            assert time.monotonic() < until, f"{what}: {self.events}"
            time.sleep(0.02)

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(timeout=90)
        self.reader.join()
        return status


@pytest.fixture
def program(binary, service):
    running = []

    def start(*arguments):
        running.append(Program(binary, service.url, *arguments))
        return running[-1]

    yield start
    for client in running:
        client.process.kill()


def test_two_people_in_terminals(binary, service):
    def terminal(user):
        child = pexpect.spawn(
            binary, [service.url, "--room", "den", "--user", user], encoding="utf-8", timeout=30, dimensions=(50, 200)
        )
        child.expect_exact("* in den")
        return child

    alice, bob = terminal("alice"), terminal("bob")
    alice.sendline("hi bob")
    alice.expect_exact("#1 alice: hi bob")
    bob.expect_exact("#1 alice: hi bob")
    # A message that arrives while a line is being typed does not spoil it.
    bob.send("hello ")
    alice.sendline("are you there?")
    bob.expect_exact("#2 alice: are you there?")
    bob.sendline("alice")
    alice.expect_exact("#3 bob: hello alice")
    bob.sendline("/who")
    bob.expect_exact("* in den: alice, bob")
    bob.sendline("/dance")
    bob.expect_exact("There is no command /dance")
    bob.sendline("/join attic")
    bob.expect_exact("attic> ")
    bob.sendline("/quit")
    bob.expect(pexpect.EOF)
    bob.wait()
    assert bob.exitstatus == 0
    alice.sendcontrol("d")
    alice.expect(pexpect.EOF)


def test_a_person_edits_deletes_and_reacts(binary, service, program):
    listener = program("--room", "changes", "--user", "bob")
    listener.wait("joined", lambda client: client.of("joined"))
    alice = pexpect.spawn(
        binary, [service.url, "--room", "changes", "--user", "alice"], encoding="utf-8", timeout=30, dimensions=(50, 200)
    )
    alice.expect_exact("* in changes")
    for line, shown in (
        ("helo", "#1 alice: helo"),
        ("/edit 1 hello", "* alice has edited #1: hello"),
        ("/react 1 👍", "* alice reacts with 👍 to #1"),
        ("secret", "#4 alice: secret"),
        ("/delete 4 wrong room", "* alice has deleted #4: wrong room"),
    ):
        alice.sendline(line)
        alice.expect_exact(shown)
    alice.sendline("/edit 4 again")
    alice.expect_exact("! there is no message 4")
    alice.sendcontrol("d")
    alice.expect(pexpect.EOF)

    listener.wait("every change", lambda client: len(client.of("changed")) == 3)
    told = [(event["kind"], event["target"], event["seq"]) for event in listener.of("changed")]
    assert told == [("edit", 1, 2), ("react", 1, 3), ("delete", 4, 5)]
    listener.write(action="react", target=1, key="👍", id="r")
    listener.write(action="history", id="h")
    assert listener.end() == 0
    # A newcomer sees the present.
    shown = subprocess.run([binary, service.url, "--room", "changes"], input="", capture_output=True, text=True, timeout=60)
    assert "#1 alice: hello (edited) [👍 2]" in shown.stdout
    assert "#4 alice: (deleted by alice: wrong room)" in shown.stdout
    assert "secret" not in shown.stdout and "helo\n" not in shown.stdout


def test_bytes_that_come_together_with_an_enter_belong_to_the_next_line(binary, service):
    child = pexpect.spawn(
        binary, [service.url, "--room", "bytes", "--user", "alice"], encoding="utf-8", timeout=30, dimensions=(50, 200)
    )
    child.expect_exact("* in bytes")
    child.send("hello\rth")
    child.expect_exact("#1 alice: hello")
    child.send("ere\r")
    child.expect_exact("#2 alice: there")
    child.send("one\rtwo\rthree\r")
    for number, line in enumerate(("one", "two", "three"), 3):
        child.expect_exact(f"#{number} alice: {line}")
    # A byte that is not UTF-8 costs its line, and is reported.
    os.write(child.child_fd, b"caf\xe9\r")
    child.expect_exact("not UTF-8")
    child.send("cafe\r")
    child.expect_exact("#6 alice: cafe")
    child.sendcontrol("c")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_text_of_several_lines_is_shown_as_lines_and_steers_nothing(binary, service, program):
    speaker = program("--room", "lines", "--user", "bob")
    speaker.write(action="publish", data="one\ntwo\u2028\u061c\U000e0041\u200b\u001b[2J")
    assert speaker.end() == 0
    shown = subprocess.run(
        [binary, service.url, "--room", "lines"], input="", capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0
    lines = ["#1 bob: one", "    two\\u{2028}\\u{61c}\\u{e0041}\\u{200b}\\u{1b}[2J"]
    assert "\n".join(lines) in shown.stdout


def ended(binary, *arguments, text):
    """Runs a program's input to its end: its exit code, its events, and its last words."""
    done = subprocess.run([binary, "--json", *arguments], input=text, capture_output=True, timeout=90)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_bad_lines_get_an_error_with_their_id_and_the_others_are_sent(binary, service):
    lines = [
        b"\xef\xbb\xbf" + b'{"action":"publish","data":null,"id":"nothing"}',
        b'{"action":"publish","data":1,"id":"null"}',
        b'{"action":"publish","data":"caf\xe9","id":"latin-1"}',
        b'{"action":"publish","data":"' + b"x" * 33_000 + b'","id":"large"}',
        b'{"action":"publish","room":"attic","data":1,"id":"outside"}',
        b'{"action":"publish","data":"\\ud800","id":"surrogate"}',
        b'{"action":"publish","id":"empty"}',
        b"hello",
        b'{"action":"publish","data":2,"id":"last"}',
    ]
    status, events, words = ended(binary, service.url, "--room", "bad", text=b"\n".join(lines))
    errors = {event.get("id"): event["name"] for event in events if event["type"] == "error"}
    assert errors == {
        "latin-1": "bad_request",
        "large": "payload_too_large",
        "outside": "not_a_member",
        "surrogate": "bad_request",
        "empty": "bad_request",
        "null": "bad_request",
        None: "bad_request",
    }
    assert [event["id"] for event in events if event["type"] == "ack"] == ["nothing", "last"]
    assert status == 2 and words == "roomchat: 7 of the lines failed: see the errors above\n"


def test_answers_carry_the_id_of_their_command_and_pages_follow_each_other(binary, service):
    publish = "".join(json.dumps({"action": "publish", "data": number}) + "\n" for number in range(9))
    assert ended(binary, service.url, "--room", "pages", text=publish.encode())[0] == 0
    ask = [
        {"action": "history", "id": "h1", "limit": 3},
        {"action": "history", "id": "h2", "limit": 3},
        {"action": "members", "id": "m"},
        {"action": "join", "room": "shed", "id": "j"},
        {"action": "leave", "room": "shed", "id": "l"},
    ]
    text = "".join(json.dumps(command) + "\n" for command in ask).encode()
    status, events, _ = ended(binary, service.url, "--room", "pages", "--history", "2", text=text)
    assert status == 0
    pages = {
        event["id"]: [message["data"] for message in event["messages"]]
        for event in events
        if event["type"] == "history"
    }
    assert pages == {"h1": [4, 5, 6], "h2": [1, 2, 3]}
    assert [event["type"] for event in events if event.get("id") in ("m", "j", "l")].count("members") == 1
    assert [event["type"] for event in events if event.get("id") in ("j", "l")] == ["joined", "left"]


def test_without_a_service_it_says_what_to_start(binary):
    status, events, words = ended(binary, "ws://127.0.0.1:9/prod", text=b"")
    assert (status, events) == (2, [])
    assert words.startswith("roomchat: nothing listens on 127.0.0.1:9: start scripts/local.sh")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_exit_code_tells_of_unacknowledged_messages(program, end):
    idle = program("--room", "signals", "--user", "alice")
    idle.wait("joined", lambda client: client.of("joined"))
    idle.process.send_signal(end)
    assert idle.process.wait(timeout=30) == 0

    busy = program("--room", "signals", "--user", "bob")
    busy.wait("joined", lambda client: client.of("joined"))
    for number in range(500):
        busy.write(action="publish", data=number)
    busy.wait("an ack", lambda client: client.of("ack"))
    busy.process.send_signal(end)
    assert busy.process.wait(timeout=30) == 2


def test_a_program_says_all_it_has_and_ends(program):
    client = program("--room", "batch", "--user", "alice")
    for number in range(20):
        client.write(action="publish", data={"n": number}, id=f"b-{number}")
    client.write(action="history", limit=5)
    assert client.end() == 0
    assert [ack["id"] for ack in client.of("ack")] == [f"b-{number}" for number in range(20)]
    assert [message["data"]["n"] for message in client.of("message")] == list(range(20))
    assert [message["seq"] for message in client.of("message")] == list(range(1, 21))
    assert len(client.of("history")) == 1


def test_connections_are_replaced_and_nothing_is_missed(program):
    listener = program("--room", "long", "--user", "alice", "--max-life", "2", "--heartbeat", "1")
    speaker = program("--room", "long", "--user", "bob", "--max-life", "3")
    listener.wait("joined", lambda client: client.of("joined"))
    for number in range(60):
        speaker.write(action="publish", data=number)
        time.sleep(0.1)
    assert speaker.end() == 0
    listener.wait("all messages", lambda client: len(client.of("message")) >= 60)
    assert [message["data"] for message in listener.of("message")] == list(range(60))
    assert len([event for event in listener.of("connected") if event["renewed"]]) >= 2
    assert not listener.of("disconnected") and not listener.of("lost")
    assert listener.end() == 0


def test_it_recovers_what_was_said_while_it_was_stopped(program, service):
    listener = program("--room", "nap", "--user", "alice", "--heartbeat", "1")
    listener.wait("joined", lambda client: client.of("joined"))
    connection = service.connection_in("nap")
    listener.process.send_signal(signal.SIGSTOP)
    speaker = program("--room", "nap", "--user", "bob")
    for number in range(10):
        speaker.write(action="publish", data=number)
    assert speaker.end() == 0
    # Its connection is cut while it cannot notice.
    service.management.delete_connection(ConnectionId=connection)
    listener.process.send_signal(signal.SIGCONT)
    listener.wait("reconnected", lambda client: len(client.of("joined")) >= 2)
    listener.wait("all messages", lambda client: len(client.of("message")) >= 10)
    assert [message["data"] for message in listener.of("message")] == list(range(10))
    assert listener.of("joined")[-1]["recovered"] is True
    assert listener.end() == 0


def test_over_tls_it_trusts_whom_its_environment_names(binary, service):
    url = service.url.replace("ws://", "wss://")
    trusting = Program(binary, url, "--room", "tls", "--user", "alice", environment={"SSL_CERT_FILE": service.authority})
    trusting.write(action="publish", data="unheard by others", id="1")
    assert trusting.end() == 0
    assert [ack["id"] for ack in trusting.of("ack")] == ["1"]

    other = Program(binary, url, "--room", "tls", "--user", "bob")
    try:
        other.wait("refused", lambda client: client.of("disconnected"))
        assert "invalid peer certificate" in other.of("disconnected")[0]["reason"]
        assert not other.of("joined")
    finally:
        other.process.kill()


def test_mistakes_get_one_sentence(binary, service):
    for arguments in (["--frobnicate"], ["http://example.org"], ["--heartbeat", "900"], ["--user", "a b", service.url]):
        done = subprocess.run([binary, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 2, arguments
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("roomchat: "), done.stderr
