"""The stack at work: the packages that would be deployed, run behind a WebSocket API by an emulator that checks IAM.

First a conversation by wscat. Then the proof that the rights are exact: each right of each function is taken away or
narrowed in turn, and the one thing that needs it, and nothing else, must fail. Each function has a role of its own, so a
missing right concerns this function alone. At the end identity is turned on, and the rights that it adds are taken away in
the same way.
"""

import copy
import io
import json
import os
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jwt
import pexpect
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from conftest import ROOT, Stack, create_a_role_and_lose_the_answer

# ministack serves the API under a path of its own, so functions post there and not to api_endpoint.
OVERRIDE = """
locals {
  management_endpoint = "%s/_aws/execute-api/${aws_apigatewayv2_api.main.id}/${var.stage}"
}
"""


# The longest wait for an expected event. Before they state that an event did not happen, the tests wait a second.
PATIENCE_SECONDS = 120

# A connection that floods is closed after this number of frames beyond the limit. No case sends so many of one action.
BURST, CLOSE_AFTER = 15, 2
LIMITS = {"frames_per_second": 1, "burst": BURST, "close_after": CLOSE_AFTER}

# Rooms are busy from this number of members on. The rooms of other cases have fewer.
BUSY_MEMBERS = 5
EPOCH = "01KAKZ8Q3V6T2M4W9XN5R7CYHB"

# The time limit of the pump. It hands over 10 s before its end, so here after 3 s. Without messages it ends after 2 s.
PUMP_SECONDS = 13

# The action by which each function is flooded.
FLOODS = {
    **{key: key for key in ["publish", "join", "leave", "history", "members"]},
    "personal": "marks",
    "default": "dance",
}


class Chat:
    """A deployed stack, seen from outside."""

    def __init__(self, stack):
        self.stack = stack
        self.emulator = stack.emulator
        outputs = stack.outputs()
        self.url = outputs["management_endpoint"].replace("http://", "ws://")
        self.table = outputs["table_names"]["connections"]
        self.messages = outputs["table_names"]["messages"]
        self.functions = outputs["function_names"]
        self.dynamodb = self.emulator.client("dynamodb")
        self.iam = self.emulator.client("iam")
        self.lambda_ = self.emulator.client("lambda")
        self.management = self.emulator.client("apigatewaymanagementapi", endpoint_url=outputs["management_endpoint"])

    def join(self, room, user):
        return connect(f"{self.url}?room={room}&user={user}", open_timeout=PATIENCE_SECONDS, close_timeout=1, compression=None)

    def rows(self, room):
        """Connection id → user of the room's rows."""
        items = self.dynamodb.scan(TableName=self.table, ConsistentRead=True)["Items"]
        return {item["connectionId"]["S"]: item["user"]["S"] for item in items if item["room"]["S"] == room}

    @contextmanager
    def rooms(self, *kinds):
        """Names of new rooms. At the end the rows of their members and their leases are deleted."""
        rooms = [new(kind) for kind in kinds]
        try:
            yield rooms if len(rooms) > 1 else rooms[0]
        finally:
            for room in rooms:
                for connection in self.rows(room):
                    self.forget(connection, room)
                self.dynamodb.delete_item(TableName=self.messages, Key=lease(room))

    def leave_a_row_behind(self, room, user="ghost"):
        """A row as a connection leaves it whose $disconnect never came: API Gateway answers 410 for it."""
        gone = uuid.uuid4().hex[:15] + "="
        now = int(time.time())
        item = {
            "connectionId": {"S": gone},
            "room": {"S": room},
            "user": {"S": user},
            "connectedAt": {"N": str((now - 600) * 1000)},
            "expiresAt": {"N": str(now + 600)},
        }
        self.dynamodb.put_item(TableName=self.table, Item=item)
        return gone

    def leave_a_message(self, room):
        """Writes the first message of a room's log."""
        now = int(time.time())
        item = {
            "room": {"S": room},
            "seq": {"N": "1"},
            "n": {"N": "1"},
            "epoch": {"S": EPOCH},
            "nonce": {"S": EPOCH},
            "user": {"S": "ghost"},
            "data": {"S": "1"},
            "at": {"N": str(now * 1000)},
            "expiresAt": {"N": str(now + 600)},
        }
        self.dynamodb.put_item(TableName=self.messages, Item=item)

    def leave_a_lease(self, room, **changes):
        """Writes the lease of a room. It was released just now, and the next delivery is due in a minute."""
        now = int(time.time() * 1000)
        numbers = {"until": 0, "since": 0, "done": 1, "last": now + 60_000, "released": now, **changes}
        item = lease(room) | {"owner": {"S": "ladder"}, "epoch": {"S": EPOCH}}
        item |= {name: {"N": str(number)} for name, number in numbers.items()}
        self.dynamodb.put_item(TableName=self.messages, Item=item)

    def make_busy(self, room):
        for _ in range(BUSY_MEMBERS):
            self.leave_a_row_behind(room)
        self.leave_a_message(room)
        self.leave_a_lease(room)

    def pump(self, room, last):
        """Invokes the pump for a room. The lease is held, and a message is not delivered."""
        self.leave_a_lease(room, done=0, until=int((time.time() + 60) * 1000), last=last)
        event = {"room": room, "handedBy": "ladder", "members": 1}
        answer = self.lambda_.invoke(FunctionName=self.functions["deliver"], Payload=json.dumps(event))
        assert "FunctionError" not in answer, answer["Payload"].read()

    def lease(self, room):
        """The numbers of the row of a room's lease."""
        item = self.dynamodb.get_item(TableName=self.messages, Key=lease(room), ConsistentRead=True)["Item"]
        return {name: int(value["N"]) for name, value in item.items() if "N" in value}

    def call(self, call):
        """The answer to a call of the backend."""
        answer = self.lambda_.invoke(FunctionName=self.functions["admin"], Payload=json.dumps(call))
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.load(answer["Payload"])

    def leave_an_expired_log(self, room):
        """A log whose only row has expired and is not deleted yet."""
        now = int(time.time())
        item = {
            "room": {"S": room},
            "seq": {"N": "7"},
            "epoch": {"S": EPOCH},
            "nonce": {"S": EPOCH},
            "at": {"N": str((now - 600) * 1000)},
            "expiresAt": {"N": str(now - 300)},
        }
        self.dynamodb.put_item(TableName=self.messages, Item=item)

    def want_presence(self, room, *users):
        """Writes the row of a `join` with presence, without the function: each right is tested on its own."""
        for connection, user in self.rows(room).items():
            if user in users:
                key = {"connectionId": {"S": connection}, "room": {"S": room}}
                self.dynamodb.update_item(
                    TableName=self.table,
                    Key=key,
                    UpdateExpression="SET presence = :true",
                    ExpressionAttributeValues={":true": {"BOOL": True}},
                )

    def forget(self, connection, room):
        self.dynamodb.delete_item(TableName=self.table, Key={"connectionId": {"S": connection}, "room": {"S": room}})

    def frames(self, socket, connection):
        """The frames that have reached the client, which has this connection."""
        self.management.post_to_connection(ConnectionId=connection, Data=b'{"type":"mark"}')
        frames = []
        while (frame := json.loads(socket.recv(PATIENCE_SECONDS)))["type"] != "mark":
            frames.append(frame)
        return frames

    def join_after_the_end(self, room, second):
        """Returns true if a join that is taken up after its connection has ended leaves no row. The function is invoked
        as API Gateway would do it, since a socket cannot be closed at the right moment."""
        gone = self.leave_a_row_behind(room)
        event = {
            "requestContext": {
                "connectionId": gone,
                "eventType": "MESSAGE",
                "requestId": "r",
                "routeKey": "join",
                "connectedAt": 1,
                "requestTimeEpoch": 1,
            },
            "body": json.dumps({"action": "join", "room": second}),
            "isBase64Encoded": False,
        }
        answer = self.lambda_.invoke(FunctionName=self.functions["join"], Payload=json.dumps(event))
        assert "FunctionError" not in answer, answer["Payload"].read()
        return gone not in self.rows(second)


def is_closed(socket, room, action, frames):
    """Floods the service. Returns true if the connection is closed within this number of frames."""
    try:
        # The emulator's function may be more than one process, and each counts for itself.
        for _ in range(frames):
            # A frame that is dropped has no answer. The emulator answers one frame after the other.
            socket.send(json.dumps({"action": action, "room": room, "data": 1}))
            socket.send(json.dumps({"action": "ping"}))
            while json.loads(socket.recv(PATIENCE_SECONDS))["type"] != "pong":
                pass
    except ConnectionClosed:
        return True
    return False


def new(kind):
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def lease(room):
    """The key of the row of a room's lease."""
    return {"room": {"S": "@deliver#" + room}, "seq": {"N": "0"}}


def eventually(check, seconds=PATIENCE_SECONDS):
    """Returns true if `check` comes true in time."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def ask(socket, frame):
    socket.send(frame if isinstance(frame, str) else json.dumps(frame))
    return json.loads(socket.recv(PATIENCE_SECONDS))


def receives(socket, seconds):
    try:
        return json.loads(socket.recv(seconds))
    except TimeoutError:
        return None


def deployer(ministack):
    """Credentials of a user who may do what terraform/deploy-policy.json allows, and nothing else."""
    iam = ministack.client("iam")
    iam.create_user(UserName="deployer")
    policy = (ROOT / "terraform/deploy-policy.json").read_text()
    iam.put_user_policy(UserName="deployer", PolicyName="deploy", PolicyDocument=policy)
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@pytest.fixture(scope="module")
def filter_arn(ministack):
    """The ARN of a function that reviews messages. A deployer brings such a function."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.write(ROOT / "tests/e2e/review/function/index.py", "index.py")
    role = ministack.client("iam").create_role(RoleName="filter", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    function = ministack.client("lambda").create_function(
        FunctionName="filter", Runtime="python3.12", Handler="index.handler", Role=role, Code={"ZipFile": package.getvalue()}
    )
    return function["FunctionArn"]


@pytest.fixture(scope="module")
def chat(ministack, filter_arn, tmp_path_factory):
    # An unlikely name and stage: nothing may depend on the default ones.
    stack = Stack(
        tmp_path_factory.mktemp("stack"),
        ministack,
        OVERRIDE % ministack.url,
        credentials=deployer(ministack),
        name="talk",
        stage="dev",
        limits=json.dumps(LIMITS),
        paced=json.dumps({"from_members": BUSY_MEMBERS, "posts_per_second": 1}),
        review=json.dumps({"function_arn": filter_arn, "rooms": ["reviewed-*"], "timeout_ms": 20_000}),
    )
    stack.apply()
    chat = Chat(stack)
    chat.lambda_.update_function_configuration(FunctionName=chat.functions["deliver"], Timeout=PUMP_SECONDS)
    yield chat
    stack.destroy()


class Wscat:
    """wscat in a terminal of its own, as a person runs it."""

    def __init__(self, chat, query):
        self.terminal = pexpect.spawn(
            os.environ["WSCAT"], ["--no-color", "-c", chat.url + query], encoding="utf-8", timeout=PATIENCE_SECONDS, dimensions=(24, 400)
        )
        self.terminal.expect("Connected")

    def type(self, line):
        self.terminal.sendline(line)

    def sees(self, text):
        self.terminal.expect_exact(text)
        return self

    def sees_nothing_of(self, text):
        assert self.terminal.expect_exact([text, pexpect.TIMEOUT], timeout=1) == 1, f"{text} was delivered"

    def leave(self):
        self.terminal.sendeof()
        self.terminal.close(force=True)


def test_a_call_whose_answer_is_lost_counts_once(ministack):
    create_a_role_and_lose_the_answer(ministack)


def test_a_conversation_by_wscat(chat):
    alice = Wscat(chat, "?room=tea&user=alice")
    bob = Wscat(chat, "?room=tea&user=bob")
    eve = Wscat(chat, "?room=coffee&user=eve")
    assert sorted(chat.rows("tea").values()) == ["alice", "bob"]

    alice.type('{"action":"publish","data":"milk?","id":"one"}')
    alice.sees('"type":"ack"').sees('"seq":1').sees('"delivered":1')
    bob.sees('"type":"message"').sees('"room":"tea"').sees('"seq":1').sees('"from":"alice"').sees('"data":"milk?"')
    bob.type('{"action":"sendmessage","data":{"sugar":2}}')
    bob.sees('"type":"ack"')
    alice.sees('"from":"bob"').sees('"data":{"sugar":2}')
    eve.sees_nothing_of("milk")
    bob.type('{"action":"history"}')
    bob.sees('"type":"history"').sees('"data":"milk?"').sees('"data":{"sugar":2}')
    bob.type('{"action":"members"}')
    bob.sees('"type":"members"').sees('"user":"alice"').sees('"user":"bob"')
    bob.type('{"action":"join","room":"cake"}')
    bob.sees('"type":"joined"').sees('"head":0')
    bob.type('{"action":"leave","room":"cake"}')
    bob.sees('"type":"left"')

    eve.type('{"action":"publish","data":"spy","room":"tea"}')
    eve.sees('"name":"not_a_member"')
    eve.type("hello?")
    eve.sees('"type":"error"')
    eve.type('{"action":"dance"}')
    eve.sees('"name":"unknown_action"').sees("block, delete, edit, heads, history, join, leave, mark, marks, members, ping, presence, publish, react, sendmessage, signal, unblock")
    eve.type('{"action":"ping"}')
    eve.sees('{"type":"pong"}')

    bob.leave()
    assert eventually(lambda: sorted(chat.rows("tea").values()) == ["alice"])
    alice.type('{"action":"publish","data":"bob?"}')
    alice.sees('"type":"ack"').sees('"delivered":0')
    for person in (alice, eve):
        person.leave()
    assert eventually(lambda: not chat.rows("tea") and not chat.rows("coffee"))


def test_bad_names_are_refused(chat):
    # Of the status only that it refuses: the emulator makes every one that $connect returns a 403.
    with pytest.raises(InvalidStatus):
        chat.join("two%20words", "alice")
    assert not chat.rows("two words")


def fails(answer, *others):
    """True for a failure of the service, and for a refusal with one of the names `others`, which an earlier failure causes."""
    assert answer["type"] != "error" or answer["name"] in ("internal", *others), answer
    return answer["type"] == "error"


def answer(socket, frame):
    """The answer to a frame, after events that come before it."""
    socket.send(json.dumps(frame))
    while (text := json.loads(socket.recv(PATIENCE_SECONDS)))["type"] == "presence":
        pass
    return text


class Watch:
    """A member who wants presence. Adds the cases in which it is told too little or too much to `failed`."""

    def __init__(self, chat, room, socket, expected, failed):
        self.chat, self.room, self.socket, self.expected, self.failed = chat, room, socket, expected, failed
        self.own = {user: connection for connection, user in chat.rows(room).items()}["bob"]
        chat.want_presence(room, "bob")

    def heard(self):
        frames = self.chat.frames(self.socket, self.own)
        return [(frame["event"], frame["user"]) for frame in frames if frame["type"] == "presence"]

    def hears(self, case, event):
        """Waits for the event: the service notices the end of a connection a little later."""
        heard = []

        def is_told():
            heard.extend(self.heard())
            return event in heard

        if not eventually(is_told, 1 if case in self.expected else PATIENCE_SECONDS):
            self.failed.add(case)

    def hears_nothing(self, case):
        if self.heard() or (case in self.expected and eventually(self.heard)):
            self.failed.add(case)

    def comes(self, user):
        before = set(self.chat.rows(self.room))
        device = self.chat.join(self.room, user)
        (connection,) = set(self.chat.rows(self.room)) - before
        return device, connection


# One section for each function. It does once all that the function can do, and returns the names of the cases that failed.
# It waits one second for the success of a case that is `expected` to fail, and for every other case as long as it takes.


def connects(chat, expected):
    with chat.rooms("room") as room:
        try:
            chat.join(room, "alice").close()
        except InvalidStatus:
            return {"connect"}
    return set()


def disconnects(chat, expected):
    failed = set()
    with chat.rooms("room") as room, chat.join(room, "bob") as bob:
        watch = Watch(chat, room, bob, expected, failed)
        chat.join(room, "alice").close()
        if not eventually(lambda: "alice" not in chat.rows(room).values(), 1 if "leave" in expected else PATIENCE_SECONDS):
            failed.add("leave")
        carol, _ = watch.comes("carol")
        second, connection = watch.comes("carol")
        chat.want_presence(room, "carol")
        second.close()
        eventually(lambda: connection not in chat.rows(room), 1 if {"leave", "disconnect silently"} & expected else PATIENCE_SECONDS)
        watch.hears_nothing("disconnect silently")
        # Another user: $disconnect of carol's second device may still look for the first, and would tell of it.
        dave, _ = watch.comes("dave")
        chat.want_presence(room, "dave")
        dave.close()
        watch.hears("tell of an end", ("leave", "dave"))
        carol.close()
    return failed


def publishes(chat, expected):
    failed = set()
    with chat.rooms("room", "old", "busy", "reviewed") as (room, old, busy, reviewed):
        # No join action has begun a new log there.
        chat.leave_an_expired_log(old)
        with chat.join(old, "carol") as carol:
            if fails(ask(carol, {"action": "publish", "data": 3, "room": old})):
                failed.add("publish to an expired room")
        ghost = chat.leave_a_row_behind(room)
        with chat.join(room, "alice") as alice, chat.join(room, "bob") as bob:
            for case, frame in {
                "publish to the only room": {"action": "publish", "data": 1},
                "publish to a named room": {"action": "publish", "data": 2, "room": room},
                "edit": {"action": "edit", "target": 1, "data": 3, "room": room},
            }.items():
                # Without a message there is none to edit.
                if fails(ask(alice, frame), "no_such_message"):
                    failed.add(case)
                elif receives(bob, 1 if "deliver" in expected else PATIENCE_SECONDS) is None:
                    failed.add("deliver")
            # A publish gives up pruning a second before its ack is due, and leaves the rest to the next.
            deadline = time.monotonic() + PATIENCE_SECONDS
            while ghost in chat.rows(room):
                if "prune" in expected or time.monotonic() > deadline:
                    failed.add("prune")
                    break
                ask(alice, {"action": "publish", "data": 3})
                receives(bob, PATIENCE_SECONDS)
        chat.make_busy(busy)
        with chat.join(busy, "bob") as bob:
            # It is too early for a delivery, so the pump is invoked. If that fails, the sender delivers, and its ack counts.
            ack = ask(bob, {"action": "publish", "data": 1})
            if fails(ack) or "paced" not in ack:
                failed.add("hand over")
        with chat.join(reviewed, "bob") as bob:
            if is_unreviewed(ask(bob, {"action": "publish", "data": "spam"})):
                failed.add("review")
    return failed


def is_unreviewed(answer):
    """False for a message that the function `filter` has denied. True if the function could not be invoked."""
    assert answer.get("name") in ("rejected", "unavailable", "internal"), answer
    return answer["name"] != "rejected"


def joins(chat, expected):
    failed = set()
    with chat.rooms("room", "second", "old") as (room, second, old):
        chat.leave_a_message(room)
        chat.leave_an_expired_log(old)
        with chat.join(room, "alice") as alice, chat.join(room, "bob") as bob:
            watch = Watch(chat, room, bob, expected, failed)
            enter = {"action": "join", "room": room, "presence": True}
            carol, _ = watch.comes("carol")
            if fails(answer(carol, enter)):
                failed.add("come")
            watch.hears("come", ("join", "carol"))
            chat.want_presence(room, "carol")
            device, _ = watch.comes("carol")
            answer(device, enter)
            watch.hears_nothing("come silently")
            carol.close()
            device.close()
            if not chat.join_after_the_end(room, second):
                failed.add("forget")
            for case, frame in {
                "join": {"action": "join", "room": room, "history": 1},
                # It also begins a log.
                "join an empty room": {"action": "join", "room": second},
                "join an expired room": {"action": "join", "room": old},
            }.items():
                if fails(ask(alice, frame)):
                    failed.add(case)
    return failed


def leaves(chat, expected):
    failed = set()
    with chat.rooms("room", "second") as (room, second):
        with chat.join(room, "alice") as alice, chat.join(room, "bob") as bob:
            assert ask(alice, {"action": "join", "room": second})["type"] == "joined"
            if fails(ask(alice, {"action": "leave", "room": second})):
                failed.add("leave a room")
            watch = Watch(chat, room, bob, expected, failed)
            carol, _ = watch.comes("carol")
            device, connection = watch.comes("carol")
            chat.want_presence(room, "carol")
            answer(device, {"action": "leave", "room": room})
            watch.hears_nothing("leave silently")
            chat.forget(connection, room)
            device.close()
            erin, _ = watch.comes("erin")
            chat.want_presence(room, "erin")
            answer(erin, {"action": "leave", "room": room})
            watch.hears("tell of a leave", ("leave", "erin"))
            carol.close()
            erin.close()
    return failed


def reads(chat, expected):
    failed = set()
    with chat.rooms("room", "second") as (room, second), chat.join(room, "alice") as alice:
        chat.leave_a_message(room)
        for case, frame in {
            "history of the only room": {"action": "history"},
            "history of a named room": {"action": "history", "room": room},
            "heads": {"action": "heads", "rooms": [room, second]},
        }.items():
            if fails(ask(alice, frame)):
                failed.add(case)
    return failed


def lists(chat, expected):
    failed = set()
    with chat.rooms("room") as room, chat.join(room, "alice") as alice, chat.join(room, "bob") as bob:
        for case, frame in {
            "members of the only room": {"action": "members"},
            "members of a named room": {"action": "members", "room": room},
        }.items():
            if fails(ask(alice, frame)):
                failed.add(case)
        watch = Watch(chat, room, bob, expected, failed)
        ghost = chat.leave_a_row_behind(room)
        chat.want_presence(room, "ghost")
        if fails(answer(alice, {"action": "members", "room": room, "state": True, "probe": True})):
            failed.add("members with states")
        if ghost in chat.rows(room):
            failed.add("probe")
        watch.hears("tell of the dead", ("leave", "ghost"))
    return failed


def signals(chat, expected):
    failed = set()
    with chat.rooms("room") as room, chat.join(room, "alice") as alice, chat.join(room, "bob") as bob:
        # Signals go to members who want presence.
        chat.want_presence(room, "bob")
        for case, frame in {
            "signal to the only room": {"action": "signal", "kind": "typing"},
            "signal to a named room": {"action": "signal", "kind": "typing", "room": room},
        }.items():
            alice.send(json.dumps(frame))
            # Not answered: an error is posted. Without the right to post there is nothing at all.
            if receives(bob, 1 if case in expected else PATIENCE_SECONDS) is None:
                failed.add(case)
                receives(alice, 1)
    return failed


def defaults(chat, expected):
    with chat.rooms("room") as room, chat.join(room, "alice") as alice:
        return set() if ask(alice, "{}")["name"] in ("unknown_action", "bad_request") else {"default"}


def backend(chat, expected):
    failed = set()
    kinds = ("room", "own", "old", "kicked", "devices", "busy", "reviewed")
    with chat.rooms(*kinds) as (room, own, old, kicked, devices, busy, reviewed), ThreadPoolExecutor(1) as pool:
        # A kick looks for the user's connections for 3 s.
        chat.leave_a_row_behind(kicked)
        kick = pool.submit(chat.call, {"action": "kick", "room": kicked, "user": "ghost"})
        ghost = chat.leave_a_row_behind(own)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ghost in chat.rows(own):
            chat.call({"action": "publish", "room": own, "data": 1})
            if ghost in chat.rows(own) and ("backend prune" in expected or time.monotonic() > deadline):
                failed.add("backend prune")
                break
        gone = chat.leave_a_row_behind(own)
        chat.leave_an_expired_log(old)
        chat.want_presence(own, "ghost")
        with chat.join(room, "bob") as bob:
            for case, call in {
                # First, since an edit prunes the ghost.
                "backend members with states": {"action": "members", "room": own, "state": True},
                "backend publish": {"action": "publish", "room": room, "data": 1},
                "backend publish to an expired room": {"action": "publish", "room": old, "data": 1},
                "backend edit": {"action": "edit", "as": "system", "room": own, "target": 1, "data": 2},
                "backend history": {"action": "history", "room": own},
                "backend members": {"action": "members", "room": own},
                "backend disconnect": {"action": "disconnect", "connectionId": gone},
            }.items():
                if case == "backend disconnect":
                    gone = call["connectionId"] = chat.leave_a_row_behind(own)
                if fails(chat.call(call), "no_such_message"):
                    failed.add(case)
                if case == "backend publish" and receives(bob, 1 if "backend deliver" in expected else PATIENCE_SECONDS) is None:
                    failed.add("backend deliver")
        with chat.join(devices, "bob") as bob, chat.join(devices, "dave"):
            watch = Watch(chat, devices, bob, expected, failed)
            gone = chat.leave_a_row_behind(devices, "dave")
            chat.want_presence(devices, "dave")
            chat.call({"action": "disconnect", "connectionId": gone})
            watch.hears_nothing("backend disconnect silently")
        chat.make_busy(busy)
        ack = chat.call({"action": "publish", "room": busy, "data": 1})
        if fails(ack) or "paced" not in ack:
            failed.add("backend hand over")
        if is_unreviewed(chat.call({"action": "publish", "room": reviewed, "data": "spam"})):
            failed.add("backend review")
        if fails(kick.result()):
            failed.add("backend kick")
    return failed


def pumps(chat, expected):
    failed = set()
    with chat.rooms("room", "late") as (room, late), ThreadPoolExecutor(1) as pool:
        # The next delivery is due long after the pump's end.
        chat.leave_a_message(late)
        pumped = pool.submit(chat.pump, late, int(time.time() + 600) * 1000)
        chat.leave_a_message(room)
        with chat.join(room, "bob") as bob, chat.join(room, "dave"):
            watch = Watch(chat, room, bob, expected, failed)
            gone = chat.leave_a_row_behind(room, "dave")
            chat.want_presence(room, "dave")
            deadline = time.monotonic() + PATIENCE_SECONDS
            frames = []
            # The pump gives up pruning after a second, and leaves the rest to the next delivery.
            while gone in chat.rows(room):
                chat.pump(room, last=0)
                frames += chat.frames(bob, watch.own)
                if gone in chat.rows(room) and ("pump prunes" in expected or time.monotonic() > deadline):
                    failed.add("pump prunes")
                    break
            kinds = [frame["type"] for frame in frames]
            if "message" not in kinds:
                failed.add("pump delivers")
            if "presence" in kinds:
                failed.add("pump prunes silently")
            if chat.lease(room)["done"] == 0:
                failed.add("pump advances")
        pumped.result()
        # A pump that cannot hand over releases the lease. Otherwise the next pump holds the lease, and hands it over again.
        if not eventually(lambda: chat.lease(late)["until"] > 0, 1 if "pump hands over" in expected else PATIENCE_SECONDS):
            failed.add("pump hands over")
    return failed


SECTIONS = {
    "connect": connects,
    "disconnect": disconnects,
    "publish": publishes,
    "join": joins,
    "leave": leaves,
    "history": reads,
    "members": lists,
    "signal": signals,
    # Without identity it only closes floods.
    "personal": lambda chat, expected: set(),
    "default": defaults,
    "admin": backend,
    "deliver": pumps,
}


def failing(chat, key, expected=None):
    """The cases of a function that fail. The function is flooded too, unless only other cases are expected to fail."""
    failed = SECTIONS[key](chat, expected or set())
    case = f"close by {key}"
    if key in FLOODS and (expected is None or case in expected):
        with chat.rooms("flood") as room, chat.join(room, "flood") as socket:
            if not is_closed(socket, room, FLOODS[key], 3 * (BURST + CLOSE_AFTER) if expected else 1000):
                failed.add(case)
    return failed


def statements(chat, key):
    policy = chat.iam.get_role_policy(RoleName=chat.functions[key], PolicyName="access")["PolicyDocument"]
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def test_each_function_has_a_role_of_its_own(chat):
    roles = {key: chat.lambda_.get_function_configuration(FunctionName=name)["Role"] for key, name in chat.functions.items()}
    assert {key: role.split("/")[-1] for key, role in roles.items()} == chat.functions


@pytest.mark.parametrize("key", SECTIONS)
def test_nothing_fails_with_the_rights_as_they_are(chat, key):
    assert failing(chat, key) == set()


# (function, statement, action or resource taken away) → what must fail. A right that is not listed here fails the test
# below; so does one whose loss nobody notices.
NEEDED = {
    ("connect", "Connections", "dynamodb:PutItem"): {"connect"},
    ("disconnect", "Connections", "dynamodb:Query"): {"leave", "tell of an end"},
    ("disconnect", "Connections", "dynamodb:DeleteItem"): {"leave", "tell of an end"},
    ("disconnect", "Connections", "dynamodb:GetItem"): {"disconnect silently"},
    ("disconnect", "RoomIndex", "dynamodb:Query"): {"tell of an end"},
    ("disconnect", "Clients", "POST/@connections/*"): {"tell of an end"},
    ("publish", "Connections", "dynamodb:Query"): {"publish to the only room", "prune", "hand over", "review"},
    ("publish", "Connections", "dynamodb:GetItem"): {"publish to a named room", "publish to an expired room", "edit"},
    ("publish", "Connections", "dynamodb:DeleteItem"): {"prune"},
    ("publish", "RoomIndex", "dynamodb:Query"): {
        "publish to the only room",
        "publish to a named room",
        "publish to an expired room",
        "edit",
        "prune",
        "hand over",
        "review",
    },
    ("publish", "Clients", "POST/@connections/*"): {"deliver", "prune"},
    ("publish", "Clients", "GET/@connections/*"): {"prune"},
    ("publish", "Clients", "DELETE/@connections/*"): {"prune", "close by publish"},
    ("publish", "Messages", "dynamodb:Query"): {
        "publish to the only room",
        "publish to a named room",
        "publish to an expired room",
        "edit",
        "prune",
        "hand over",
        "review",
    },
    ("publish", "Messages", "dynamodb:PutItem"): {
        "publish to the only room",
        "publish to a named room",
        "publish to an expired room",
        "edit",
        "prune",
        "hand over",
    },
    ("publish", "Messages", "dynamodb:ConditionCheckItem"): {"publish to an expired room"},
    ("publish", "Messages", "dynamodb:GetItem"): {"edit"},
    ("publish", "Messages", "dynamodb:UpdateItem"): {"edit", "hand over"},
    ("publish", "Invoke", "lambda:InvokeFunction"): {"hand over"},
    ("publish", "Review", "lambda:InvokeFunction"): {"review"},
    ("join", "Connections", "dynamodb:Query"): {"join", "join an empty room", "join an expired room", "come"},
    ("join", "Connections", "dynamodb:GetItem"): {"come silently"},
    ("join", "Connections", "dynamodb:UpdateItem"): {"come"},
    ("join", "RoomIndex", "dynamodb:Query"): {"come"},
    ("join", "Clients", "POST/@connections/*"): {"come"},
    ("join", "Connections", "dynamodb:PutItem"): {"join an empty room", "join an expired room"},
    ("join", "Connections", "dynamodb:DeleteItem"): {"forget"},
    ("join", "Clients", "GET/@connections/*"): {"forget"},
    ("join", "Messages", "dynamodb:Query"): {"join", "join an empty room", "join an expired room", "come"},
    ("join", "Messages", "dynamodb:PutItem"): {"join an empty room", "join an expired room"},
    ("join", "Messages", "dynamodb:ConditionCheckItem"): {"join an expired room"},
    ("leave", "Connections", "dynamodb:DeleteItem"): {"leave a room", "tell of a leave"},
    ("leave", "Connections", "dynamodb:GetItem"): {"leave silently"},
    ("leave", "RoomIndex", "dynamodb:Query"): {"tell of a leave"},
    ("leave", "Clients", "POST/@connections/*"): {"tell of a leave"},
    ("join", "Clients", "DELETE/@connections/*"): {"close by join"},
    ("leave", "Clients", "DELETE/@connections/*"): {"close by leave"},
    ("signal", "Connections", "dynamodb:Query"): {"signal to the only room"},
    ("signal", "Connections", "dynamodb:GetItem"): {"signal to a named room"},
    ("signal", "RoomIndex", "dynamodb:Query"): {"signal to the only room", "signal to a named room"},
    ("signal", "Clients", "POST/@connections/*"): {"signal to the only room", "signal to a named room"},
    ("history", "Connections", "dynamodb:Query"): {"history of the only room"},
    ("history", "Connections", "dynamodb:GetItem"): {"history of a named room"},
    ("history", "Messages", "dynamodb:Query"): {"history of the only room", "history of a named room", "heads"},
    ("history", "Clients", "DELETE/@connections/*"): {"close by history"},
    ("members", "Connections", "dynamodb:Query"): {"members of the only room", "probe", "tell of the dead"},
    ("members", "Connections", "dynamodb:GetItem"): {
        "members of a named room",
        "members with states",
        "probe",
        "tell of the dead",
    },
    ("members", "Connections", "dynamodb:BatchGetItem"): {"members with states"},
    ("members", "Connections", "dynamodb:DeleteItem"): {"probe", "tell of the dead"},
    ("members", "Clients", "GET/@connections/*"): {"probe", "tell of the dead"},
    ("members", "Clients", "DELETE/@connections/*"): {"probe", "tell of the dead", "close by members"},
    ("members", "Clients", "POST/@connections/*"): {"tell of the dead"},
    ("members", "RoomIndex", "dynamodb:Query"): {
        "members of the only room",
        "members of a named room",
        "members with states",
        "probe",
        "tell of the dead",
    },
    ("admin", "Connections", "dynamodb:Query"): {"backend prune", "backend disconnect"},
    ("admin", "Connections", "dynamodb:GetItem"): {"backend disconnect silently"},
    ("admin", "Connections", "dynamodb:BatchGetItem"): {"backend members with states"},
    ("admin", "Connections", "dynamodb:DeleteItem"): {"backend prune", "backend kick", "backend disconnect"},
    ("admin", "RoomIndex", "dynamodb:Query"): {
        "backend publish", "backend publish to an expired room", "backend prune", "backend deliver",
        "backend edit", "backend hand over", "backend review",
        "backend members", "backend members with states", "backend kick",
    },
    ("admin", "Clients", "POST/@connections/*"): {"backend prune", "backend deliver"},
    ("admin", "Clients", "GET/@connections/*"): {"backend prune"},
    ("admin", "Clients", "DELETE/@connections/*"): {"backend prune", "backend disconnect"},
    ("admin", "Messages", "dynamodb:Query"): {
        "backend publish", "backend publish to an expired room", "backend prune", "backend deliver",
        "backend edit", "backend hand over", "backend review",
        "backend history", "backend kick", "backend disconnect",
    },
    ("admin", "Messages", "dynamodb:PutItem"): {
        "backend publish", "backend publish to an expired room", "backend prune", "backend deliver",
        "backend edit", "backend hand over",
        "backend kick", "backend disconnect",
    },
    ("admin", "Messages", "dynamodb:ConditionCheckItem"): {"backend publish to an expired room"},
    ("personal", "Clients", "DELETE/@connections/*"): {"close by personal"},
    ("default", "Clients", "DELETE/@connections/*"): {"close by default"},
    ("admin", "Messages", "dynamodb:GetItem"): {"backend edit"},
    ("admin", "Messages", "dynamodb:UpdateItem"): {"backend edit", "backend hand over"},
    ("admin", "Invoke", "lambda:InvokeFunction"): {"backend hand over"},
    ("admin", "Review", "lambda:InvokeFunction"): {"backend review"},
    ("deliver", "Invoke", "lambda:InvokeFunction"): {"pump hands over"},
    ("deliver", "Connections", "dynamodb:Query"): {"pump prunes"},
    ("deliver", "Connections", "dynamodb:GetItem"): {"pump prunes silently"},
    ("deliver", "Connections", "dynamodb:DeleteItem"): {"pump prunes"},
    ("deliver", "RoomIndex", "dynamodb:Query"): {"pump delivers", "pump prunes"},
    ("deliver", "Clients", "POST/@connections/*"): {"pump delivers", "pump prunes"},
    ("deliver", "Clients", "GET/@connections/*"): {"pump prunes"},
    ("deliver", "Clients", "DELETE/@connections/*"): {"pump prunes"},
    ("deliver", "Messages", "dynamodb:Query"): {"pump delivers", "pump advances", "pump prunes", "pump hands over"},
    ("deliver", "Messages", "dynamodb:UpdateItem"): {"pump delivers", "pump advances", "pump prunes"},
}


def rights(chat):
    """The rights of all functions, but for those to write logs: they are Lambda's own, the emulator does not ask for them."""
    return {
        (key, sid, right)
        for key in chat.functions
        for sid, statement in statements(chat, key).items()
        if sid != "Logs"
        for right in (
            statement["Action"] if sid != "Clients" else [resource.split("/dev/")[1] for resource in statement["Resource"]]
        )
    }


def test_every_right_is_known(chat):
    assert rights(chat) == set(NEEDED)


def mutations():
    for key, sid, right in NEEDED:
        yield pytest.param(key, sid, right, "without", id=f"{key}-without-{right}-{sid}")
        yield pytest.param(key, sid, right, "elsewhere", id=f"{key}-elsewhere-{right}-{sid}")


@pytest.mark.parametrize("key, sid, right, how", list(mutations()))
def test_a_right_less_is_one_failure_more(chat, key, sid, right, how):
    """Taken away, or left in place for another resource: the table for the index and the other way round, the other
    table for that of the messages, another stage's connections for this one's."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements(chat, key).values())})
    document = json.loads(policy)
    (statement,) = [statement for statement in document["Statement"] if statement["Sid"] == sid]
    part = "Resource" if sid == "Clients" else "Action"
    (lost,) = [value for value in statement[part] if value.endswith(right)]
    statement[part].remove(lost)
    if how == "elsewhere":
        (resource, *_) = statement["Resource"] if sid != "Clients" else [lost]
        other = {
            "Connections": resource + "/index/room-index",
            "Messages": resource.replace("-messages", "-connections"),
            "RoomIndex": resource.split("/index/")[0],
            "Clients": resource.replace("/dev/", "/prod/"),
            "Invoke": resource.replace("-deliver", "-publish"),
            "Review": resource.replace("filter", "other"),
        }[sid]
        action = [lost] if sid != "Clients" else statement["Action"]
        document["Statement"].append({"Effect": "Allow", "Action": action, "Resource": [other]})
    document["Statement"] = [one for one in document["Statement"] if one["Action"] and one["Resource"]]
    role = chat.functions[key]
    chat.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=json.dumps(document))
    try:
        assert failing(chat, key, NEEDED[key, sid, right]) == NEEDED[key, sid, right]
    finally:
        chat.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=policy)


def test_the_rights_are_whole_again(chat):
    with ThreadPoolExecutor(len(SECTIONS)) as pool:
        failed = pool.map(lambda key: failing(chat, key), SECTIONS)
    assert set().union(*failed) == set()


# Users are verified from here on: the same stack, applied again.

AUTH = {"issuer": "roomchat", "audience": ["roomchat"]}
SECRET = "a secret of thirty-two bytes, 32"
EVERYTHING = {"*": ["join", "history", "publish", "moderate"]}


class Verified(Chat):
    """The stack with identity. Every user and room has a new name, so that cases can run in parallel."""

    # The longest wait of a case for a frame.
    patience_seconds = PATIENCE_SECONDS

    def __init__(self, stack):
        super().__init__(stack)
        self.users = stack.outputs()["table_names"]["users"]

    def impatient(self):
        """The same stack for a case that is expected to fail."""
        other = copy.copy(self)
        other.patience_seconds = 1
        return other

    def token(self, user):
        now = int(time.time())
        claims = {"iss": "roomchat", "aud": "roomchat", "sub": user, "rooms": EVERYTHING, "iat": now, "exp": now + 3600}
        return jwt.encode(claims, SECRET, algorithm="HS256")

    def join(self, room, user):
        return super().join(room, f"{user}&token={self.token(user)}")

    def note(self, user, about, **attributes):
        item = {"user": {"S": user}, "about": {"S": about}} | {name: {"S": value} for name, value in attributes.items()}
        self.dynamodb.put_item(TableName=self.users, Item=item)

    def noted(self, user, about):
        return "Item" in self.dynamodb.get_item(TableName=self.users, Key={"user": {"S": user}, "about": {"S": about}}, ConsistentRead=True)

    def row(self, room, user):
        (connection,) = [connection for connection, other in self.rows(room).items() if other == user]
        key = {"connectionId": {"S": connection}, "room": {"S": room}}
        return self.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True)["Item"]


@pytest.fixture(scope="module")
def verified(chat):
    chat.stack.variables.update(auth=json.dumps(AUTH), auth_secret=SECRET)
    chat.stack.apply()
    return Verified(chat.stack)


def is_done(answer, kind):
    """True for the wanted frame, false for a failure of the service. Any other frame is a mistake of the test."""
    assert answer["type"] == kind or answer.get("name") in ("internal", None), answer
    return answer["type"] == kind


def a_handshake(chat):
    with chat.join(new("room"), new("alice")):
        return True


def the_handshake_of_a_banned_user(chat):
    room, user = new("room"), new("mallory")
    chat.note(user, "ban#*", kind="ban")
    with pytest.raises(InvalidStatus):
        chat.join(room, user)
    return not chat.rows(room) and not chat.rows("@" + user)


def the_handshake_of_a_muted_user(chat):
    room, user = new("room"), new("loud")
    chat.note(user, "ban#" + room, kind="mute")
    with chat.join(room, user):
        return "muted" in chat.row(room, user)


def a_join(chat):
    with chat.join(new("room"), new("alice")) as alice:
        return is_done(ask(alice, {"action": "join", "room": new("room")}), "joined")


def a_message_to_a_user(chat):
    with chat.join(new("room"), new("alice")) as alice:
        return is_done(ask(alice, {"action": "publish", "to": new("bob"), "data": 1}), "ack")


def the_ban_of_a_flood(chat):
    room, user = new("room"), new("flood")
    with chat.join(room, user) as socket:
        is_closed(socket, room, "publish", 4 * (BURST + CLOSE_AFTER))
    return chat.noted(user, "ban#*flood")


def a_signal_to_a_user(chat):
    user, other = new("alice"), new("bob")
    with chat.join(new("room"), user) as alice, chat.join(new("room"), other) as bob:
        room = "@" + "&".join(sorted([user, other]))
        alice.send(json.dumps({"action": "signal", "room": room, "kind": "typing"}))
        return receives(bob, chat.patience_seconds) is not None


def a_mark(chat, **more):
    room, user = new("room"), new("alice")
    with chat.join(room, user) as alice, chat.join(room, user) as phone:
        frame = {"action": "mark", "room": room, "epoch": "01KAKZ8Q3V6T2M4W9XN5R7CYHB", "seq": 1, "n": 1, **more}
        if not is_done(ask(alice, frame), "ack"):
            return False
        return receives(phone, chat.patience_seconds) is not None


def a_mark_for_the_members(chat):
    return a_mark(chat, public=True)


def a_mark_for_a_user(chat):
    user, other = new("alice"), new("bob")
    room = "@" + "&".join(sorted([user, other]))
    with chat.join(new("room"), user) as alice:
        frame = {"action": "mark", "room": room, "epoch": "01KAKZ8Q3V6T2M4W9XN5R7CYHB", "seq": 1, "n": 1, "public": True}
        return is_done(ask(alice, frame), "ack")


def the_marks(chat):
    with chat.join(new("room"), new("alice")) as alice:
        return is_done(ask(alice, {"action": "marks"}), "marks")


def a_block(chat, action="block"):
    with chat.join(new("room"), new("alice")) as alice:
        return is_done(ask(alice, {"action": action, "user": new("bob")}), "ack")


def an_unblock(chat):
    return a_block(chat, "unblock")


def moderates(chat, action, then=lambda bob, row: True, **more):
    """True if a moderator is answered, and `then` is true for the user's socket and row."""
    room, user = new("room"), new("bob")
    with chat.join(room, new("mod")) as mod, chat.join(room, user) as bob:
        done = is_done(ask(mod, {"action": action, "room": room, "user": user, **more}), "moderated")
        return done and then(bob, lambda: chat.row(room, user))


def a_kick(chat):
    return moderates(chat, "kick")


def the_notice_of_a_kick(chat):
    return moderates(chat, "kick", lambda bob, _: receives(bob, chat.patience_seconds) is not None)


def a_ban(chat):
    return moderates(chat, "ban", forSeconds=60)


def an_unban(chat):
    return moderates(chat, "unban")


def a_mute(chat):
    return moderates(chat, "mute", lambda _, row: "muted" in row())


def called(chat, call):
    answer = chat.call(call)
    assert answer["type"] != "error" or answer["name"] == "internal", answer
    return answer["type"] != "error"


def the_backends_mute(chat):
    room, user = new("room"), new("bob")
    with chat.join(room, user):
        return called(chat, {"action": "mute", "room": room, "user": user}) and "muted" in chat.row(room, user)


def the_backends_unban(chat):
    return called(chat, {"action": "unban", "room": "*", "user": new("bob")})


def the_backends_revocation(chat):
    return called(chat, {"action": "revoke", "user": new("bob")})


def the_list_of_bans(chat):
    return called(chat, {"action": "bans"})


def the_backends_message_to_a_user(chat):
    return called(chat, {"action": "publish", "as": new("alice"), "impersonate": True, "to": new("bob"), "data": 1})


# By function: the things that only a stack with identity does.
VERIFIED = {
    "connect": [a_handshake, the_handshake_of_a_banned_user, the_handshake_of_a_muted_user],
    "join": [a_join],
    "publish": [a_message_to_a_user, the_ban_of_a_flood],
    "signal": [a_signal_to_a_user],
    "personal": [a_mark, a_mark_for_the_members, a_mark_for_a_user, the_marks, a_block, an_unblock],
    "moderate": [a_kick, the_notice_of_a_kick, a_ban, an_unban, a_mute],
    "admin": [the_backends_mute, the_backends_unban, the_backends_revocation, the_list_of_bans, the_backends_message_to_a_user],
}

ALL = {key: set(cases) for key, cases in VERIFIED.items()}

# (function, statement, action or resource taken away) → what must fail. The rights that NEEDED lists are there without
# identity too.
NEEDED_VERIFIED = {
    ("connect", "Connections", "dynamodb:DeleteItem"): {the_handshake_of_a_banned_user},
    ("connect", "Connections", "dynamodb:UpdateItem"): {the_handshake_of_a_muted_user},
    ("connect", "RoomIndex", "dynamodb:Query"): {a_handshake, the_handshake_of_a_muted_user},
    ("connect", "Users", "dynamodb:Query"): {a_handshake, the_handshake_of_a_muted_user},
    ("join", "Users", "dynamodb:Query"): {a_join},
    ("publish", "Users", "dynamodb:GetItem"): {a_message_to_a_user},
    ("publish", "Users", "dynamodb:UpdateItem"): {the_ban_of_a_flood},
    ("signal", "Users", "dynamodb:GetItem"): {a_signal_to_a_user},
    ("personal", "Connections", "dynamodb:GetItem"): {a_mark_for_the_members, a_mark_for_a_user},
    ("personal", "RoomIndex", "dynamodb:Query"): {a_mark, a_mark_for_the_members},
    ("personal", "Clients", "POST/@connections/*"): {a_mark, a_mark_for_the_members},
    ("personal", "Users", "dynamodb:UpdateItem"): {a_mark, a_mark_for_the_members, a_mark_for_a_user},
    ("personal", "Users", "dynamodb:Query"): {the_marks},
    ("personal", "Users", "dynamodb:PutItem"): {a_block},
    ("personal", "Users", "dynamodb:DeleteItem"): {an_unblock},
    ("personal", "Users", "dynamodb:GetItem"): {a_mark_for_a_user},
    # No case shows it: a user of whose two connections a moderator removes one is not told to have left.
    ("moderate", "Connections", "dynamodb:GetItem"): set(),
    ("moderate", "Connections", "dynamodb:DeleteItem"): {a_kick, the_notice_of_a_kick, a_ban},
    ("moderate", "Connections", "dynamodb:UpdateItem"): {a_mute},
    ("moderate", "RoomIndex", "dynamodb:Query"): {a_kick, the_notice_of_a_kick, a_ban, a_mute},
    ("moderate", "Users", "dynamodb:UpdateItem"): {a_ban, a_mute},
    ("moderate", "Users", "dynamodb:DeleteItem"): {an_unban},
    ("moderate", "Users", "dynamodb:Query"): {a_mute},
    ("moderate", "Clients", "POST/@connections/*"): {the_notice_of_a_kick},
    # It would close a moderator who floods, as it does for the other functions.
    ("moderate", "Clients", "DELETE/@connections/*"): set(),
    ("moderate", "Messages", "dynamodb:Query"): ALL["moderate"],
    ("moderate", "Messages", "dynamodb:PutItem"): ALL["moderate"],
    # The audit never expires here.
    ("moderate", "Messages", "dynamodb:ConditionCheckItem"): set(),
    ("admin", "Connections", "dynamodb:UpdateItem"): {the_backends_mute},
    ("admin", "Users", "dynamodb:Query"): {the_backends_mute},
    ("admin", "Users", "dynamodb:UpdateItem"): {the_backends_mute, the_backends_revocation},
    ("admin", "Users", "dynamodb:DeleteItem"): {the_backends_unban},
    ("admin", "Users", "dynamodb:Scan"): {the_list_of_bans},
    ("admin", "Users", "dynamodb:GetItem"): {the_backends_message_to_a_user},
}


def failures(chat, key, expected=frozenset()):
    """The cases of a function that fail."""
    with ThreadPoolExecutor(len(VERIFIED[key])) as pool:
        done = {case: pool.submit(case, chat.impatient() if case in expected else chat) for case in VERIFIED[key]}
    failed = set()
    for case, future in done.items():
        try:
            succeeded = future.result()
        except InvalidStatus:
            succeeded = False
        if not succeeded:
            failed.add(case)
    return failed


def test_the_authorizer_stands_before_the_handshake(verified):
    gateway = verified.emulator.client("apigatewayv2")
    (api,) = [api["ApiId"] for api in gateway.get_apis()["Items"] if api["Name"] == "talk-dev"]
    (authorizer,) = gateway.get_authorizers(ApiId=api)["Items"]
    assert verified.functions["authorize"] in authorizer["AuthorizerUri"]
    guarded = {
        route["RouteKey"]: route["AuthorizerId"]
        for route in gateway.get_routes(ApiId=api, MaxResults="500")["Items"]
        if route.get("AuthorizationType", "NONE") != "NONE"
    }
    assert guarded == {"$connect": authorizer["AuthorizerId"]}

    token = verified.token("alice")
    for query in ["", "&token=x", f"&token={token[:-4]}AAAA"]:
        with pytest.raises(InvalidStatus):
            Chat.join(verified, "tea", "alice" + query)
    with verified.join("tea", "alice") as alice:
        assert ask(alice, {"action": "join", "room": "tea"})["user"] == "alice"


def test_the_secret_is_in_the_state_once_and_a_token_nowhere(verified):
    token = verified.token("alice")
    with Chat.join(verified, "tea", "alice&token=" + token) as alice:
        ask(alice, {"action": "publish", "data": 1})
    state = json.loads((verified.stack.folder / "terraform.tfstate").read_text())
    holders = [
        f"{resource['type']}.{resource['name']}[{instance.get('index_key')}]"
        for resource in state["resources"]
        for instance in resource["instances"]
        if SECRET in json.dumps(instance)
    ]
    assert holders == ["aws_lambda_function.main[authorize]"]
    assert SECRET not in json.dumps(state["outputs"])
    logs, lines = verified.emulator.client("logs"), []
    for name in verified.functions.values():
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}"):
            lines += [event["message"] for event in page["events"]]
    printed = json.dumps(state) + "\n".join(lines)
    assert "published" in printed
    for part in [token, token.split(".")[1], token.split(".")[2]]:
        assert part not in printed
    assert SECRET not in "\n".join(lines)


def test_every_right_of_identity_is_known(verified):
    assert rights(verified) == set(NEEDED) | set(NEEDED_VERIFIED)
    assert not set(NEEDED) & set(NEEDED_VERIFIED)


@pytest.mark.parametrize("key", VERIFIED)
def test_nothing_fails_with_the_rights_of_identity(verified, key):
    assert failures(verified, key) == set()


@pytest.mark.parametrize("key, sid, right", [pytest.param(*one, id="-without-".join(one[::2]) + "-" + one[1]) for one in NEEDED_VERIFIED])
def test_a_right_of_identity_less_is_one_failure_more(verified, key, sid, right):
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements(verified, key).values())})
    document = json.loads(policy)
    (statement,) = [statement for statement in document["Statement"] if statement["Sid"] == sid]
    part = "Resource" if sid == "Clients" else "Action"
    (lost,) = [value for value in statement[part] if value.endswith(right)]
    statement[part].remove(lost)
    document["Statement"] = [one for one in document["Statement"] if one["Action"] and one["Resource"]]
    role = verified.functions[key]
    verified.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=json.dumps(document))
    try:
        assert failures(verified, key, NEEDED_VERIFIED[key, sid, right]) == NEEDED_VERIFIED[key, sid, right]
    finally:
        verified.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=policy)
