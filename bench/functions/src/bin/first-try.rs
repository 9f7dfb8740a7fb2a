//! A simple chat as many first versions are, in one program. The name of the handler selects its part.
//!
//! `connect` puts a row, `disconnect` deletes it, `one-scan` scans the table for everybody and sends to all at once, as
//! many as there are; `one-by-one` queries the room and sends to one after the other. No log, no pruning, no retries but
//! the SDK's.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

type Row = HashMap<String, AttributeValue>;

struct Chat {
    handler: String,
    table: String,
    dynamodb: aws_sdk_dynamodb::Client,
    clients: aws_sdk_apigatewaymanagement::Client,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    bench_functions::main(run).await
}

async fn run(config: &SdkConfig) -> Result<(), Error> {
    let chat = &Chat {
        handler: std::env::var("_HANDLER")?,
        table: std::env::var("TABLE")?,
        dynamodb: aws_sdk_dynamodb::Client::new(config),
        clients: aws_sdk_apigatewaymanagement::Client::new(config),
    };
    let handler = async |event: LambdaEvent<Value>| Box::pin(chat.answer(&event.payload)).await;
    lambda_runtime::run(service_fn(handler)).await
}

impl Chat {
    async fn answer(&self, event: &Value) -> Result<Value, Error> {
        let id = &event["requestContext"]["connectionId"];
        let id = id.as_str().context("no connectionId")?;
        match self.handler.as_str() {
            "connect" => self.connect(event, id).await?,
            "disconnect" => self.disconnect(id).await?,
            _ => return self.publish(event, id).await,
        }
        Ok(json!({"statusCode": 200}))
    }

    async fn connect(&self, event: &Value, id: &str) -> Result<(), Error> {
        let query = |name: &str| {
            event["queryStringParameters"][name]
                .as_str()
                .unwrap_or("lobby")
                .to_owned()
        };
        let put = self.dynamodb.put_item().table_name(&self.table);
        put.item("connectionId", AttributeValue::S(id.to_owned()))
            .item("room", AttributeValue::S(query("room")))
            .item("user", AttributeValue::S(query("user")))
            .send()
            .await?;
        Ok(())
    }

    async fn disconnect(&self, id: &str) -> Result<(), Error> {
        let delete = self.dynamodb.delete_item().table_name(&self.table);
        delete
            .key("connectionId", AttributeValue::S(id.to_owned()))
            .send()
            .await?;
        Ok(())
    }

    async fn publish(&self, event: &Value, id: &str) -> Result<Value, Error> {
        let said: Value = serde_json::from_str(event["body"].as_str().context("no body")?)?;
        let get = self.dynamodb.get_item().table_name(&self.table);
        let sender = get
            .key("connectionId", AttributeValue::S(id.to_owned()))
            .send()
            .await?;
        let sender = sender.item.context("the sender has no row")?;
        let room = text(&sender, "room");
        let body = json!({
            "type": "message", "room": room, "id": said["id"], "from": text(&sender, "user"), "data": said["data"],
        });
        let body = body.to_string();
        let rows = if self.handler == "one-scan" {
            self.scan().await?
        } else {
            self.query(room).await?
        };
        let others = rows
            .iter()
            .filter(|row| text(row, "room") == room && text(row, "connectionId") != id);
        let ids: Vec<&str> = others.map(|row| text(row, "connectionId")).collect();
        if self.handler == "one-scan" {
            try_join_all(ids.iter().map(|id| self.post(id, &body))).await?;
        } else {
            for id in &ids {
                self.post(id, &body).await?;
            }
        }
        let ack = json!({"type": "ack", "id": said["id"], "room": room, "delivered": ids.len()});
        Ok(json!({"statusCode": 200, "body": ack.to_string()}))
    }

    async fn scan(&self) -> Result<Vec<Row>, Error> {
        let pages = self
            .dynamodb
            .scan()
            .table_name(&self.table)
            .into_paginator();
        Ok(pages.items().send().collect::<Result<_, _>>().await?)
    }

    async fn query(&self, room: &str) -> Result<Vec<Row>, Error> {
        let query = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .index_name("room-index");
        let query = query
            .key_condition_expression("room = :room")
            .expression_attribute_values(":room", AttributeValue::S(room.to_owned()));
        Ok(query
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await?)
    }

    async fn post(&self, id: &str, body: &str) -> Result<(), Error> {
        let post = self.clients.post_to_connection().connection_id(id);
        post.data(Blob::new(body)).send().await?;
        Ok(())
    }
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name)
        .and_then(|value| value.as_s().ok())
        .map_or("", String::as_str)
}
