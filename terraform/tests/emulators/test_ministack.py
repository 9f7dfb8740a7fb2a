"""The stack at work: the packages that would be deployed, run behind a WebSocket API by an emulator that checks IAM.

First a conversation by wscat. Then the proof that the rights are exact: each right of each function is taken away or
narrowed in turn, and the one thing that needs it, and nothing else, must fail. At the end identity is turned on, and the
rights that it adds are taken away in the same way.
"""

import json
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

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

# A connection that floods is closed after this number of frames beyond the limit. More than `behaviour` sends of an action.
BURST, CLOSE_AFTER = 15, 2
LIMITS = {"frames_per_second": 1, "burst": BURST, "close_after": CLOSE_AFTER}

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

    def leave_a_row_behind(self, room, user="ghost"):
        """A row as a connection leaves it whose $disconnect never came: API Gateway answers 410 for it."""
        gone = "AAAAAAAAAAAAAAA="
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
            "epoch": {"S": "01KAKZ8Q3V6T2M4W9XN5R7CYHB"},
            "nonce": {"S": "01KAKZ8Q3V6T2M4W9XN5R7CYHB"},
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

    def heard(self, socket, connection):
        """The events of presence that have reached the client, which has this connection."""
        self.management.post_to_connection(ConnectionId=connection, Data=b'{"type":"mark"}')
        frames = []
        while (frame := json.loads(socket.recv(PATIENCE_SECONDS)))["type"] != "mark":
            frames.append(frame)
        return [(frame["event"], frame["user"]) for frame in frames if frame["type"] == "presence"]

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
        rows = [each for each in (room, second) if gone in self.rows(each)]
        for each in rows:
            self.dynamodb.delete_item(TableName=self.table, Key={"connectionId": {"S": gone}, "room": {"S": each}})
        return second not in rows


    def closes_a_flood(self, room, action, frames):
        """Returns true if a connection that does not stop is closed within this number of frames."""
        with self.join(room, "flood") as socket:
            try:
                # The emulator's function may be more than one process, and each counts for itself.
                for _ in range(frames):
                    socket.send(json.dumps({"action": action, "room": room, "data": 1}))
                    # A frame that is dropped has no answer.
                    receives(socket, 0.3)
            except ConnectionClosed:
                return True
        return False


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
def chat(ministack, tmp_path_factory):
    # An unlikely name and stage: nothing may depend on the default ones.
    stack = Stack(
        tmp_path_factory.mktemp("stack"),
        ministack,
        OVERRIDE % ministack.url,
        credentials=deployer(ministack),
        name="talk",
        stage="dev",
        limits=json.dumps(LIMITS),
    )
    stack.apply()
    yield Chat(stack)
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


def backend(chat, room, bob, expected):
    """Does once all that the backend's function can do, in a room of its own and in that of bob, and returns the names of
    the cases that failed."""
    failed = set()
    own = room + "-backend"
    ghost = chat.leave_a_row_behind(own)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ghost in chat.rows(own):
        if "backend prune" in expected or time.monotonic() > deadline:
            chat.call({"action": "publish", "room": own, "data": 1})
            if ghost in chat.rows(own):
                failed.add("backend prune")
            break
        chat.call({"action": "publish", "room": own, "data": 1})
    gone = chat.leave_a_row_behind(own)
    old = room + "-backend-old"
    chat.leave_an_expired_log(old)
    chat.want_presence(own, "ghost")
    for case, call in {
        # First, since an edit prunes the ghost.
        "backend members with states": {"action": "members", "room": own, "state": True},
        "backend publish": {"action": "publish", "room": room, "data": 1},
        "backend publish to an expired room": {"action": "publish", "room": old, "data": 1},
        "backend edit": {"action": "edit", "as": "system", "room": own, "target": 1, "data": 2},
        "backend history": {"action": "history", "room": own},
        "backend members": {"action": "members", "room": own},
        "backend kick": {"action": "kick", "room": own, "user": "ghost"},
        "backend disconnect": {"action": "disconnect", "connectionId": gone},
    }.items():
        if case == "backend disconnect":
            chat.leave_a_row_behind(own)
        answer = chat.call(call)
        if answer["type"] == "error":
            assert answer["name"] in ("internal", "no_such_message"), answer
            failed.add(case)
        if case == "backend publish" and receives(bob, 1 if "backend deliver" in expected else PATIENCE_SECONDS) is None:
            failed.add("backend deliver")
    for connection in chat.rows(own):
        chat.dynamodb.delete_item(TableName=chat.table, Key={"connectionId": {"S": connection}, "room": {"S": own}})
    return failed


def behaviour(chat, expected=frozenset(), floods=()):
    """Does once all that the functions can do, and returns the names of the cases that failed. Of a case that is
    `expected` to fail it waits a second for the success, of every other as long as it takes.
    `floods` are the functions that are flooded too."""
    room, second, old, older = ("room-" + uuid.uuid4().hex[:8] for _ in range(4))
    for expired in (old, older):
        chat.leave_an_expired_log(expired)
    failed = set()
    try:
        alice = chat.join(room, "alice")
        bob = chat.join(room, "bob")
        # No join action has begun a new log there.
        carol = chat.join(older, "carol")
    except InvalidStatus:
        return {"connect"}
    ghost = chat.leave_a_row_behind(room)
    with bob:
        with carol:
            answer = ask(carol, {"action": "publish", "data": 3, "room": older})
            if answer["type"] == "error":
                assert answer["name"] == "internal", answer
                failed.add("publish to an expired room")
        with alice:
            for case, frame in {
                "publish to the only room": {"action": "publish", "data": 1},
                "publish to a named room": {"action": "publish", "data": 2, "room": room},
                "edit": {"action": "edit", "target": 1, "data": 3, "room": room},
            }.items():
                answer = ask(alice, frame)
                if answer["type"] == "error":
                    # Without a message there is none to edit.
                    assert answer["name"] in ("internal", "no_such_message"), answer
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
            failed |= backend(chat, room, bob, expected)
            receives(alice, 1 if "backend deliver" in expected else PATIENCE_SECONDS)
            presence(chat, alice, bob, room, expected, failed)
            if not chat.join_after_the_end(room, second):
                failed.add("forget")
            for case, frame in {
                "join": {"action": "join", "room": room, "history": 1},
                "history of the only room": {"action": "history"},
                "history of a named room": {"action": "history", "room": room},
                "heads": {"action": "heads", "rooms": [room, second]},
                "members of the only room": {"action": "members"},
                "members of a named room": {"action": "members", "room": room},
                # Last, because from here on the connection is in two rooms. It also begins a log.
                "join an empty room": {"action": "join", "room": second},
                "leave a room": {"action": "leave", "room": second},
                "join an expired room": {"action": "join", "room": old},
            }.items():
                answer = ask(alice, frame)
                if answer["type"] == "error":
                    assert answer["name"] == "internal", answer
                    failed.add(case)
            if ask(alice, "{}")["name"] != "unknown_action" and ask(alice, "{}")["name"] != "bad_request":
                failed.add("default")
        if not eventually(lambda: "alice" not in chat.rows(room).values(), 1 if "leave" in expected else PATIENCE_SECONDS):
            failed.add("leave")
    for key in floods:
        case = f"close by {key}"
        if not chat.closes_a_flood(room, FLOODS[key], 3 * (BURST + CLOSE_AFTER) if case in expected else 1000):
            failed.add(case)
    # Deletes the rows that this round leaves, so that the next round does not find them.
    time.sleep(0.2)
    for each in (room, second, old, older):
        for connection in chat.rows(each):
            chat.dynamodb.delete_item(TableName=chat.table, Key={"connectionId": {"S": connection}, "room": {"S": each}})
    return failed


def answer(socket, frame):
    """The answer to a frame, after events that come before it."""
    socket.send(json.dumps(frame))
    while (text := json.loads(socket.recv(PATIENCE_SECONDS)))["type"] == "presence":
        pass
    return text


def presence(chat, alice, bob, room, expected, failed):
    """Compares what bob hears of carol's three devices, of dave, and of a connection that has died. Adds the cases that fail."""
    own = {user: connection for connection, user in chat.rows(room).items()}["bob"]

    def hears(case, event):
        """True if bob is told of it; the connection's end is noticed a little later."""
        heard = []

        def is_told():
            heard.extend(chat.heard(bob, own))
            return event in heard

        if not eventually(is_told, 1 if case in expected else PATIENCE_SECONDS):
            failed.add(case)

    def hears_nothing(case):
        if chat.heard(bob, own) or (case in expected and eventually(lambda: chat.heard(bob, own), PATIENCE_SECONDS)):
            failed.add(case)

    def comes(user):
        before = set(chat.rows(room))
        device = chat.join(room, user)
        (connection,) = set(chat.rows(room)) - before
        return device, connection

    enter = {"action": "join", "room": room, "presence": True}
    carol, _ = comes("carol")
    if answer(carol, enter)["type"] == "error":
        failed.add("come")
    hears("come", ("join", "carol"))
    chat.want_presence(room, "carol")
    second, connection = comes("carol")
    answer(second, enter)
    hears_nothing("come silently")
    chat.want_presence(room, "carol")
    answer(second, {"action": "leave", "room": room})
    hears_nothing("leave silently")
    chat.forget(connection, room)
    second.close()
    third, connection = comes("carol")
    chat.want_presence(room, "carol")
    third.close()
    eventually(lambda: connection not in chat.rows(room), 1 if {"leave", "disconnect silently"} & expected else PATIENCE_SECONDS)
    hears_nothing("disconnect silently")
    chat.forget(connection, room)
    # Another user: $disconnect of carol's third device may still look for the first, and would tell of it.
    erin, _ = comes("erin")
    chat.want_presence(room, "erin")
    answer(erin, {"action": "leave", "room": room})
    hears("tell of a leave", ("leave", "erin"))
    for connection, user in chat.rows(room).items():
        if user in ("carol", "erin"):
            chat.forget(connection, room)
    carol.close()
    erin.close()
    dave, connection = comes("dave")
    chat.want_presence(room, "dave")
    dave.close()
    hears("tell of an end", ("leave", "dave"))
    chat.forget(connection, room)
    ghost = chat.leave_a_row_behind(room)
    chat.want_presence(room, "ghost")
    if answer(alice, {"action": "members", "room": room, "state": True, "probe": True})["type"] == "error":
        failed.add("members with states")
    if ghost in chat.rows(room):
        failed.add("probe")
    hears("tell of the dead", ("leave", "ghost"))
    chat.forget(ghost, room)


def statements(chat, key):
    policy = chat.iam.get_role_policy(RoleName=chat.functions[key], PolicyName="access")["PolicyDocument"]
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def test_nothing_fails_with_the_rights_as_they_are(chat):
    assert behaviour(chat, floods=FLOODS) == set()


# (function, statement, action or resource taken away) → what must fail. A right that is not listed here fails the test
# below; so does one whose loss nobody notices.
NEEDED = {
    ("connect", "Connections", "dynamodb:PutItem"): {"connect"},
    ("disconnect", "Connections", "dynamodb:Query"): {"leave", "tell of an end"},
    ("disconnect", "Connections", "dynamodb:DeleteItem"): {"leave", "tell of an end"},
    ("disconnect", "Connections", "dynamodb:GetItem"): {"disconnect silently"},
    ("disconnect", "RoomIndex", "dynamodb:Query"): {"tell of an end"},
    ("disconnect", "Clients", "POST/@connections/*"): {"tell of an end"},
    ("publish", "Connections", "dynamodb:Query"): {"publish to the only room", "prune"},
    ("publish", "Connections", "dynamodb:GetItem"): {"publish to a named room", "publish to an expired room", "edit"},
    ("publish", "Connections", "dynamodb:DeleteItem"): {"prune"},
    ("publish", "RoomIndex", "dynamodb:Query"): {
        "publish to the only room",
        "publish to a named room",
        "publish to an expired room",
        "edit",
        "prune",
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
    },
    ("publish", "Messages", "dynamodb:PutItem"): {
        "publish to the only room",
        "publish to a named room",
        "publish to an expired room",
        "edit",
        "prune",
    },
    ("publish", "Messages", "dynamodb:ConditionCheckItem"): {"publish to an expired room"},
    ("publish", "Messages", "dynamodb:GetItem"): {"edit"},
    ("publish", "Messages", "dynamodb:UpdateItem"): {"edit"},
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
    # No case shows it: a user of whose two connections the backend removes one is not told to have left.
    ("admin", "Connections", "dynamodb:GetItem"): set(),
    ("admin", "Connections", "dynamodb:BatchGetItem"): {"backend members with states"},
    ("admin", "Connections", "dynamodb:DeleteItem"): {"backend prune", "backend kick", "backend disconnect"},
    ("admin", "RoomIndex", "dynamodb:Query"): {
        "backend publish", "backend publish to an expired room", "backend prune", "backend deliver",
        "backend edit",
        "backend members", "backend members with states", "backend kick",
    },
    ("admin", "Clients", "POST/@connections/*"): {"backend prune", "backend deliver"},
    ("admin", "Clients", "GET/@connections/*"): {"backend prune"},
    ("admin", "Clients", "DELETE/@connections/*"): {"backend prune", "backend disconnect"},
    ("admin", "Messages", "dynamodb:Query"): {
        "backend publish", "backend publish to an expired room", "backend prune", "backend deliver",
        "backend edit",
        "backend history", "backend kick", "backend disconnect",
    },
    ("admin", "Messages", "dynamodb:PutItem"): {
        "backend publish", "backend publish to an expired room", "backend prune", "backend deliver",
        "backend edit",
        "backend kick", "backend disconnect",
    },
    ("admin", "Messages", "dynamodb:ConditionCheckItem"): {"backend publish to an expired room"},
    ("personal", "Clients", "DELETE/@connections/*"): {"close by personal"},
    ("default", "Clients", "DELETE/@connections/*"): {"close by default"},
    ("admin", "Messages", "dynamodb:GetItem"): {"backend edit"},
    ("admin", "Messages", "dynamodb:UpdateItem"): {"backend edit"},
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
        }[sid]
        action = [lost] if sid != "Clients" else statement["Action"]
        document["Statement"].append({"Effect": "Allow", "Action": action, "Resource": [other]})
    document["Statement"] = [one for one in document["Statement"] if one["Action"] and one["Resource"]]
    role = chat.functions[key]
    chat.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=json.dumps(document))
    try:
        floods = [key] if right == "DELETE/@connections/*" and key in FLOODS else []
        assert behaviour(chat, NEEDED[key, sid, right], floods) == NEEDED[key, sid, right]
    finally:
        chat.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=policy)


def test_the_rights_are_whole_again(chat):
    assert behaviour(chat) == set()


# Users are verified from here on: the same stack, applied again.

AUTH = {"issuer": "roomchat", "audience": ["roomchat"]}
SECRET = "a secret of thirty-two bytes, 32"
EVERYTHING = {"*": ["join", "history", "publish", "moderate"]}


class Verified(Chat):
    """The stack with identity. Every user and room has a new name, so that cases can run in parallel."""

    def __init__(self, stack):
        super().__init__(stack)
        self.users = stack.outputs()["table_names"]["users"]

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


def new(kind):
    return f"{kind}-{uuid.uuid4().hex[:8]}"


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
        try:
            for _ in range(4 * (BURST + CLOSE_AFTER)):
                socket.send(json.dumps({"action": "publish", "room": room, "data": 1}))
                receives(socket, 0.3)
        except ConnectionClosed:
            pass
    return chat.noted(user, "ban#*flood")


def a_signal_to_a_user(chat):
    user, other = new("alice"), new("bob")
    with chat.join(new("room"), user) as alice, chat.join(new("room"), other) as bob:
        room = "@" + "&".join(sorted([user, other]))
        alice.send(json.dumps({"action": "signal", "room": room, "kind": "typing"}))
        return receives(bob, 5) is not None


def a_mark(chat, **more):
    room, user = new("room"), new("alice")
    with chat.join(room, user) as alice, chat.join(room, user) as phone:
        frame = {"action": "mark", "room": room, "epoch": "01KAKZ8Q3V6T2M4W9XN5R7CYHB", "seq": 1, "n": 1, **more}
        if not is_done(ask(alice, frame), "ack"):
            return False
        return receives(phone, 5) is not None


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


def moderates(chat, action, **more):
    """The answer to a moderator, and the frame that the user gets."""
    room, user = new("room"), new("bob")
    with chat.join(room, new("mod")) as mod, chat.join(room, user) as bob:
        done = is_done(ask(mod, {"action": action, "room": room, "user": user, **more}), "moderated")
        heard = receives(bob, 2) if action in ("kick", "ban") else None
        is_muted = "muted" in chat.row(room, user) if action == "mute" and done else None
    return done, heard, is_muted


def a_kick(chat):
    return moderates(chat, "kick")[0]


def the_notice_of_a_kick(chat):
    done, heard, _ = moderates(chat, "kick")
    return done and heard is not None


def a_ban(chat):
    return moderates(chat, "ban", forSeconds=60)[0]


def an_unban(chat):
    return moderates(chat, "unban")[0]


def a_mute(chat):
    done, _, is_muted = moderates(chat, "mute")
    return done and is_muted


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


def failures(chat, key):
    """The cases of a function that fail."""
    with ThreadPoolExecutor(len(VERIFIED[key])) as pool:
        done = {case: pool.submit(case, chat) for case in VERIFIED[key]}
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
        assert failures(verified, key) == NEEDED_VERIFIED[key, sid, right]
    finally:
        verified.iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=policy)
