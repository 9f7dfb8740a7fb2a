//! A gateway whose functions call through the proxy, and clients of which every frame counts.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::prices::Usage;
use kit::proxy::Proxy;
use kit::{Client, Gateway, eventually, root};

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) proxy: Proxy,
    /// Frames in either direction since the last measurement began.
    usage: Usage,
    /// Invocations that there must have been, by what the clients did.
    expected: usize,
    /// Clients that have nothing more to say: were they dropped, their $disconnect would run in a measurement.
    kept: Vec<Client>,
}

impl World {
    pub(crate) fn start() -> World {
        let proxy = Proxy::start(0);
        let flags = proxy.flags(true);
        let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        // The limits are counted and never reached. The window is long, so that a slow machine reads the same rows.
        flags.extend([
            "--var",
            "limits={ per_user = 200, per_room = 0, window_seconds = 60 }",
        ]);
        let gateway = Gateway::start_with(&root().join("terraform"), &flags);
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

    pub(crate) fn refused(&mut self, query: &str) {
        self.expected += 1;
        let refused = self.gateway.try_connect(&format!("/prod?{query}"));
        assert_eq!(refused.err(), Some(400));
    }

    pub(crate) fn leave(&mut self, client: Client) {
        self.expected += 1;
        client.leave();
    }

    /// Lets clients be, who have received all that was sent to them.
    pub(crate) fn keep(&mut self, clients: impl IntoIterator<Item = Client>) {
        for mut client in clients {
            client.has_received_all();
            self.kept.push(client);
        }
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

    /// What `action` uses. Whatever ran before has ended, and what it starts has ended too.
    pub(crate) fn measure(&mut self, action: impl FnOnce(&mut World)) -> Usage {
        let before = self.settle();
        self.proxy.exchanges();
        self.usage = Usage::default();
        action(self);
        self.usage.invocations = self.settle() - before;
        let mut usage = self.usage.clone();
        let mut counted = HashSet::new();
        for exchange in self.proxy.exchanges() {
            // A try that a busy machine has made the SDK repeat is no part of the contract.
            if counted.insert(exchange.invocation.clone()) {
                usage.exchange(&exchange);
            }
        }
        usage
    }

    /// Waits for the end of every invocation, and says how many there were.
    fn settle(&mut self) -> usize {
        let expected = self.expected;
        let what = format!("the end of {expected} invocations");
        eventually(&what, || (self.invocations() >= expected).then_some(()));
        assert_eq!(self.invocations(), expected, "invocations");
        expected
    }

    /// The line that Lambda logs for each invocation, once its function waits for the next one.
    fn invocations(&self) -> usize {
        let output = self.gateway.output();
        let is_report = |line: &&String| line.contains("REPORT RequestId: ");
        output.iter().filter(is_report).count()
    }
}
