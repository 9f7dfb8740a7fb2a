//! The world around the functions: tables, members, and the answers of API Gateway.

mod aws;
pub(crate) mod functions;
pub(crate) mod model;
mod peers;

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use chat::identity::Caller;
use chat::invoke::Invoker;
use chat::lambda::{Reply, Request};
use chat::members::{Connection, Presence, Users};
use chat::paced::{Leases, Paced};
use chat::settings::{
    ConnectionsTable, Delivery, Handshakes, Live, LogLimits, MessagesTable, Pace, Retention,
    UsersTable,
};
use chat::{App, Desk, FrameLimit, Moderation, Signals};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

pub(crate) use aws::Tap;
pub(crate) use peers::{Answer, Peers};

pub(crate) const TABLE: &str = "connections";
pub(crate) const MESSAGES: &str = "messages";
pub(crate) const USERS: &str = "users";

/// Every page may connect, and a user 20 times.
pub(crate) const HANDSHAKES: Handshakes = Handshakes {
    allowed_origins: Vec::new(),
    max_connections_per_user: 20,
};

/// Rooms of a hundred are live.
pub(crate) const LIVE: Live = Live { max_members: 100 };

/// Longer than any answer takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The time for which messages are kept, in seconds.
pub(crate) const RETENTION_S: i64 = 7 * 24 * 3600;

/// The time for which the audit is kept, in seconds.
pub(crate) const AUDIT_S: i64 = 365 * 24 * 3600;

/// A client of the API for invocations.
pub(crate) fn invoker(functions: &functions::Functions) -> Invoker {
    let config = aws::config("http://unused", "http://unused", None).into_builder();
    chat::aws::invoker(&config.endpoint_url(&functions.url).build()).unwrap()
}

pub(crate) struct World {
    pub(crate) app: App,
    /// The requests of the functions to AWS, and ways to make them fail.
    pub(crate) tap: Tap,
    /// The clients that are connected.
    pub(crate) peers: Peers,
    /// The table of bans and revocations.
    pub(crate) users: Users,
    /// The limit of frames, off.
    pub(crate) frames: FrameLimit,
    /// Reads and fills the tables, past the tap.
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    config: SdkConfig,
    /// Reaches the same tables and clients past the tap.
    untapped: SdkConfig,
    table: ConnectionsTable,
    pub(crate) history: MessagesTable,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(None, |_| ()).await
    }

    /// A world with two members in the lobby.
    pub(crate) async fn lobby() -> Self {
        let world = Self::new().await;
        for id in ["a", "b"] {
            world.join(id, "lobby").await;
        }
        world
    }

    /// A world with `page_size` rows per page and the settings that `set` changes.
    pub(crate) async fn with(page_size: Option<i32>, set: impl FnOnce(&mut Delivery)) -> Self {
        let peers = Peers::start().await;
        let engine = aws::start_engine().await;
        let untapped = aws::config(&engine, &peers.url, None);
        let dynamodb = aws_sdk_dynamodb::Client::new(&untapped);
        aws::create_tables(&dynamodb).await;
        // Long, so that no post fails on a busy machine. Tests with hanging peers shorten them.
        let mut delivery = Delivery {
            attempt_timeout: Duration::from_secs(30),
            post_timeout: Duration::from_secs(60),
            ..Delivery::default()
        };
        set(&mut delivery);
        let tap = Tap::default();
        let table = ConnectionsTable {
            name: TABLE.to_owned(),
            page_size,
        };
        let config = aws::config(&engine, &peers.url, Some(&tap));
        let history = MessagesTable {
            name: MESSAGES.to_owned(),
            retention_s: RETENTION_S,
            limits: None,
            page_size,
        };
        let app = App::new(
            &config,
            table.clone(),
            users_table(),
            history.clone(),
            delivery,
            LIVE,
        );
        let users = chat::aws::users(&config, users_table());
        Self {
            app,
            users,
            frames: FrameLimit::OFF,
            tap,
            peers,
            dynamodb,
            config,
            untapped,
            table,
            history,
        }
    }

    /// A process of the function `signal`.
    pub(crate) fn signals(&self, max_members: usize) -> Signals {
        Signals::new(
            &self.config,
            self.table.clone(),
            users_table(),
            self.app.delivery.clone(),
            Live { max_members },
        )
    }

    /// The parts of the functions of moderators and of the backend. The audit is kept for a year.
    pub(crate) fn moderation(&self) -> Moderation {
        self.moderation_at(&self.config)
    }

    /// The same in another process, past the tap.
    pub(crate) fn untapped_moderation(&self) -> Moderation {
        self.moderation_at(&self.untapped)
    }

    /// The other parts in another process, past the tap.
    pub(crate) fn untapped_app(&self) -> (App, Users) {
        let (config, table) = (&self.untapped, self.table.clone());
        let users = UsersTable {
            name: Some(USERS.to_owned()),
        };
        let app = App::new(
            config,
            table,
            users.clone(),
            self.history.clone(),
            self.app.delivery.clone(),
            LIVE,
        );
        (app, chat::aws::users(config, users))
    }

    fn moderation_at(&self, config: &SdkConfig) -> Moderation {
        let users = UsersTable {
            name: Some(USERS.to_owned()),
        };
        let audit = MessagesTable {
            retention_s: AUDIT_S,
            ..self.history.clone()
        };
        let table = self.table.clone();
        chat::aws::moderation(config, table, users, audit, &self.app.delivery, LIVE)
    }

    /// Another process of the same function. It remembers nothing that this process has done.
    pub(crate) fn another_process(&self) -> App {
        self.process(None)
    }

    /// This process, or another one if `cold`.
    pub(crate) fn warm_or(&self, cold: bool) -> App {
        if cold {
            self.another_process()
        } else {
            self.app.clone()
        }
    }

    /// Another process, which keeps to `limits`.
    pub(crate) fn process(&self, limits: Option<LogLimits>) -> App {
        let history = MessagesTable {
            limits,
            ..self.history.clone()
        };
        App::new(
            &self.config,
            self.table.clone(),
            users_table(),
            history,
            self.app.delivery.clone(),
            LIVE,
        )
    }

    /// A process that delivers together in rooms with so many members, and hands leases to `functions`.
    pub(crate) fn busy(&self, functions: &functions::Functions, pace: Pace) -> App {
        let paced = Paced {
            leases: Leases::new(aws_sdk_dynamodb::Client::new(&self.config), &self.history),
            invoker: invoker(functions),
            pace,
        };
        self.another_process().with_paced(Some(paced))
    }

    /// Puts a connection into a room, as if it had connected a minute ago.
    pub(crate) async fn join(&self, id: &str, room: &str) {
        self.join_since(id, room, 60).await;
    }

    /// Puts a connection into a room, as if it had connected `seconds` ago.
    pub(crate) async fn join_since(&self, id: &str, room: &str, seconds: i64) {
        let connected_at = now_ms() - seconds * 1000;
        let row = Connection {
            connection_id: id.to_owned(),
            room: room.to_owned(),
            user: format!("user-{id}"),
            connected_at,
            expires_at: connected_at / 1000 + 7_800,
            floor: None,
            batch: false,
            muted: None,
        };
        let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(row).unwrap();
        self.put(item).await;
    }

    /// Puts a connection of `user` into a room, for as long as is said.
    pub(crate) async fn join_as(&self, id: &str, room: &str, user: &str, expires_at: i64) {
        let row = Connection {
            connection_id: id.to_owned(),
            room: room.to_owned(),
            user: user.to_owned(),
            connected_at: now_ms(),
            expires_at,
            floor: None,
            batch: false,
            muted: None,
        };
        let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(row).unwrap();
        self.put(item).await;
    }

    /// Puts a connection of `user` into a room that wants presence, as if it had connected a minute ago.
    pub(crate) async fn present(&self, id: &str, room: &str, user: &str) {
        let connected_at = now_ms() - 60_000;
        let row = Connection {
            connection_id: id.to_owned(),
            room: room.to_owned(),
            user: user.to_owned(),
            connected_at,
            expires_at: connected_at / 1000 + 7_800,
            floor: None,
            batch: false,
            muted: None,
        };
        let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(row).unwrap();
        item.insert("presence".to_owned(), AttributeValue::Bool(true));
        self.put(item).await;
    }

    /// Puts many connections, each with its user, into a room.
    pub(crate) async fn join_many(
        &self,
        room: &str,
        members: impl Iterator<Item = (String, &str)>,
        expires_at: i64,
    ) {
        let puts: Vec<WriteRequest> = members
            .map(|(connection_id, user)| {
                let row = Connection {
                    connection_id,
                    room: room.to_owned(),
                    user: user.to_owned(),
                    connected_at: now_ms(),
                    expires_at,
                    floor: None,
                    batch: false,
                    muted: None,
                };
                let put = PutRequest::builder().set_item(Some(serde_dynamo::to_item(row).unwrap()));
                WriteRequest::builder()
                    .put_request(put.build().unwrap())
                    .build()
            })
            .collect();
        for batch in puts.chunks(25) {
            let written = self
                .dynamodb
                .batch_write_item()
                .request_items(TABLE, batch.to_vec())
                .send()
                .await
                .unwrap();
            assert!(written.unprocessed_items.unwrap_or_default().is_empty());
        }
    }

    /// Lets the rows of a room's log expire, up to `last`, without deleting them.
    pub(crate) async fn expire(&self, room: &str, last: u64) {
        self.expire_in(room, last, -5).await;
    }

    /// Lets the rows of a room's log expire in so many seconds, up to `last`.
    pub(crate) async fn expire_in(&self, room: &str, last: u64, seconds: i64) {
        let past = AttributeValue::N((now_ms() / 1000 + seconds).to_string());
        for row in self.log(room).await {
            if row.seq <= last {
                let update = self
                    .dynamodb
                    .update_item()
                    .table_name(MESSAGES)
                    .set_key(Some(logged_key(room, row.seq)))
                    .update_expression("SET expiresAt = :past")
                    .expression_attribute_values(":past", past.clone());
                update.send().await.unwrap();
            }
        }
    }

    /// Deletes a row of a room's log.
    pub(crate) async fn delete_logged(&self, room: &str, seq: u64) {
        let delete = self
            .dynamodb
            .delete_item()
            .table_name(MESSAGES)
            .set_key(Some(logged_key(room, seq)));
        delete.send().await.unwrap();
    }

    pub(crate) async fn put(&self, item: HashMap<String, AttributeValue>) {
        self.put_into(TABLE, item).await;
    }

    pub(crate) async fn put_into(&self, table: &str, item: HashMap<String, AttributeValue>) {
        self.dynamodb
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .send()
            .await
            .unwrap();
    }

    /// Every row of the table, as (connection, room), sorted.
    pub(crate) async fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = self
            .items()
            .await
            .into_iter()
            .map(|item| (text(&item["connectionId"]), text(&item["room"])))
            .collect();
        rows.sort();
        rows
    }

    pub(crate) async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.dynamodb.scan().table_name(TABLE).consistent_read(true);
        scan.into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .unwrap()
    }

    /// The rows of a room's log, in order, without their retention.
    pub(crate) async fn log(&self, room: &str) -> Vec<Logged> {
        let query = self
            .dynamodb
            .query()
            .table_name(MESSAGES)
            .key_condition_expression("room = :room")
            .expression_attribute_values(":room", AttributeValue::S(room.to_owned()))
            .consistent_read(true);
        let items: Vec<HashMap<String, AttributeValue>> = query
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .unwrap();
        items
            .into_iter()
            .map(|item| serde_dynamo::from_item(item).unwrap())
            .collect()
    }

    /// The answer to a frame of `id`.
    pub(crate) async fn publish(&self, id: &str, frame: &str) -> Value {
        body(&chat::publish(&self.app, &request(id, frame)).await)
    }

    pub(crate) async fn ask_join(&self, id: &str, frame: &str) -> Value {
        self.ask(&request(id, frame)).await
    }

    /// Presence in a process that has live rooms of at most so many connections.
    pub(crate) fn presence(&self, max_members: usize) -> Presence {
        Presence::new(
            self.app.connections.clone(),
            self.app.management.clone(),
            self.app.delivery.clone(),
            Live { max_members },
        )
    }

    /// The answer of the function `join`.
    pub(crate) async fn ask(&self, request: &Request) -> Value {
        let (presence, log) = (&self.app.presence, &self.app.log);
        body(&chat::join(presence, log, &self.users, &self.frames, request).await)
    }

    /// Returns the answer to a handshake.
    pub(crate) async fn connect(&self, request: &Request) -> Reply {
        self.connect_with(&HANDSHAKES, request).await
    }

    pub(crate) async fn connect_with(&self, settings: &Handshakes, request: &Request) -> Reply {
        chat::connect(&self.app.connections, &self.users, settings, request).await
    }

    pub(crate) async fn ask_history(&self, id: &str, frame: &str) -> Value {
        let (connections, log) = (&self.app.connections, &self.app.log);
        body(&chat::history(connections, log, &self.frames, &request(id, frame)).await)
    }

    pub(crate) async fn ask_history_text(&self, id: &str, frame: &str) -> String {
        let (connections, log) = (&self.app.connections, &self.app.log);
        let reply = chat::history(connections, log, &self.frames, &request(id, frame)).await;
        reply.body.unwrap()
    }

    /// The parts that marks and blocks need, where rooms of up to `most` connections are live.
    pub(crate) fn desk(&self, most: usize) -> Desk {
        Desk::new(
            &self.config,
            self.table.clone(),
            users_table(),
            self.app.delivery.clone(),
            Live { max_members: most },
            Retention {
                seconds: RETENTION_S,
            },
        )
    }

    pub(crate) async fn ask_leave(&self, id: &str, frame: &str) -> Value {
        body(&chat::leave(&self.app.presence, &self.frames, &request(id, frame)).await)
    }

    pub(crate) async fn ask_members(&self, id: &str, frame: &str) -> Value {
        body(&chat::members(&self.app.presence, &self.frames, &request(id, frame)).await)
    }
}

fn users_table() -> UsersTable {
    UsersTable {
        name: Some(USERS.to_owned()),
    }
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logged {
    pub(crate) seq: u64,
    pub(crate) epoch: String,
    pub(crate) n: Option<u64>,
    pub(crate) id: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) at: i64,
    pub(crate) expires_at: i64,
}

/// A frame from `id`, with a minute to answer it.
pub(crate) fn request(id: &str, frame: &str) -> Request {
    let started = Instant::now();
    Request {
        connection_id: id.to_owned(),
        caller: Caller::Anyone,
        source_ip: None,
        connected_ms: now_ms(),
        offers_subprotocol: false,
        request_id: "r".to_owned(),
        body: frame.to_owned(),
        query: Vec::new(),
        origins: Vec::new(),
        close_code: None,
        now_ms: now_ms(),
        started,
        deadline: started + Duration::from_secs(60),
    }
}

/// A handshake of `id`.
pub(crate) fn handshake(id: &str, query: &[(&str, &str)]) -> Request {
    let query = query
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Request {
        query,
        ..request(id, "")
    }
}

/// The frame of a reply. Message routes answer 200 whatever happens.
pub(crate) fn body(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200);
    serde_json::from_str(reply.body.as_deref().unwrap()).unwrap()
}

pub(crate) fn now_ms() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

fn logged_key(room: &str, seq: u64) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("room".to_owned(), AttributeValue::S(room.to_owned())),
        ("seq".to_owned(), AttributeValue::N(seq.to_string())),
    ])
}

fn text(value: &AttributeValue) -> String {
    value.as_s().unwrap().clone()
}
