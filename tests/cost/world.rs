//! A gateway whose functions make their calls through the proxy, and clients whose frames are counted.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::prices::Usage;
use kit::proxy::Proxy;
use kit::{Client, Gateway, IDENTITY, eventually, root, token};

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) proxy: Proxy,
    /// Frames in either direction since the last measurement began.
    usage: Usage,
    /// The expected number of invocations, by the actions of the clients.
    expected: usize,
    /// Clients that are done. Dropping them would run their $disconnect during a measurement.
    kept: Vec<Client>,
}

impl World {
    pub(crate) fn start() -> World {
        World::start_with("terraform", &[])
    }

    /// With a function that reviews messages.
    pub(crate) fn start_with_review() -> World {
        World::start_with("tests/e2e/review", &[])
    }

    /// With verified users.
    pub(crate) fn start_with_identity() -> World {
        World::start_with("terraform", &IDENTITY)
    }

    /// With rooms that are busy from 20 connections on, and deliveries that are always due.
    pub(crate) fn start_busy() -> World {
        let paced = "paced={ from_members = 20, posts_per_second = 1000000 }";
        World::start_with("terraform", &["--var", paced])
    }

    fn start_with(terraform: &str, more: &[&str]) -> World {
        let proxy = Proxy::start(0);
        let flags = proxy.flags(true);
        let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        // The limits are counted and never reached. The window is long, so that a slow machine reads the same rows.
        flags.extend([
            // Young connections are probed.
            "--env",
            "PRUNE_GRACE_SECONDS=0",
            "--var",
            "limits={ per_user = 200, per_room = 0, frames_per_second = 10000, burst = 10000, window_seconds = 60 }",
        ]);
        flags.extend(more);
        let gateway = Gateway::start_with(&root().join(terraform), &flags);
        proxy.forward_to(&gateway.dynamodb, gateway.port);
        proxy.exchanges();
        World {
            gateway,
            proxy,
            usage: Usage::default(),
            expected: 0,
            kept: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, room: &str, user: &str) -> Client {
        self.expected += 1;
        self.gateway.join(room, user)
    }

    /// Connects with a token that grants every room: the authorizer is invoked too.
    pub(crate) fn connect_as(&mut self, room: &str, user: &str) -> Client {
        self.expected += 2;
        let token = token(user, &Value::Null, 600);
        self.gateway
            .connect(&format!("/prod?room={room}&token={token}"))
    }

    pub(crate) fn refused(&mut self, query: &str) {
        self.expected += 1;
        let refused = self.gateway.try_connect(&format!("/prod?{query}"));
        assert_eq!(refused.err(), Some(400));
    }

    pub(crate) fn leave(&mut self, client: Client) {
        self.expected += 1;
        client.leave();
    }

    /// Keeps clients that are done, after they have received every frame.
    pub(crate) fn keep(&mut self, clients: impl IntoIterator<Item = Client>) {
        for mut client in clients {
            client.has_received_all();
            self.kept.push(client);
        }
    }

    /// Invokes a function as a backend does.
    pub(crate) fn invoke(&mut self, function: &str, call: &Value, kind: &str) {
        self.expected += 1;
        let path = format!("/2015-03-31/functions/{function}/invocations");
        let (status, _, answer) = self.gateway.http("POST", &path, &call.to_string());
        assert_eq!(status, 200, "{answer}");
        let frame: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(frame["type"], kind, "{frame}");
    }

    /// Expects an invocation by a function.
    pub(crate) fn expect_review(&mut self) {
        self.expected += 1;
    }

    /// Sends a frame, and expects an invocation for it unless it is a ping.
    pub(crate) fn send(&mut self, client: &mut Client, frame: &Value) {
        self.expected += usize::from(frame["action"] != "ping");
        let text = frame.to_string();
        self.usage.message(text.len());
        client.send_fragmented(&text, 32 * 1024);
    }

    pub(crate) fn receive(&mut self, client: &mut Client, kind: &str) -> Value {
        let text = client.receive_text();
        self.usage.message(text.len());
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    pub(crate) fn ask(&mut self, client: &mut Client, frame: &Value, kind: &str) -> Value {
        self.send(client, frame);
        self.receive(client, kind)
    }

    pub(crate) fn publish(&mut self, client: &mut Client, room: &str, data: &str) -> Value {
        let frame = json!({"action": "publish", "room": room, "data": data});
        self.ask(client, &frame, "ack")
    }

    /// Measures the usage of `action`. All earlier invocations have ended, and so have those of the action.
    pub(crate) fn measure(&mut self, action: impl FnOnce(&mut World)) -> Usage {
        let before = self.settle();
        self.proxy.exchanges();
        self.usage = Usage::default();
        action(self);
        self.usage.invocations = self.settle() - before;
        let mut usage = self.usage.clone();
        let mut counted = HashSet::new();
        for exchange in self.proxy.exchanges() {
            // A retry of the SDK on a busy machine does not count.
            if counted.insert(exchange.invocation.clone()) {
                usage.exchange(&exchange);
            }
        }
        usage
    }

    /// Waits for the end of every invocation, and returns their number.
    fn settle(&mut self) -> usize {
        let expected = self.expected;
        let what = format!("the end of {expected} invocations");
        eventually(&what, || (self.invocations() >= expected).then_some(()));
        assert_eq!(self.invocations(), expected, "invocations");
        expected
    }

    /// Counts Lambda's REPORT lines, which appear once the function waits for its next event.
    fn invocations(&self) -> usize {
        let output = self.gateway.output();
        let is_report = |line: &&String| line.contains("REPORT RequestId: ");
        output.iter().filter(is_report).count()
    }
}
