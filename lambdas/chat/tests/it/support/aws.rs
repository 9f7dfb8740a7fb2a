//! A DynamoDB engine, and a tap on the SDK's requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Serves an empty DynamoDB for as long as the test's runtime lives, and returns its URL.
pub(crate) async fn start_engine() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_with_shutdown(
        listener,
        database,
        std::future::pending(),
    ));
    url
}

/// The SDK's configuration, as the environment of a function would set it.
pub(crate) fn config(dynamodb: &str, management: &str, tap: Option<&Tap>) -> SdkConfig {
    let plain = aws_smithy_http_client::Builder::new().build_http();
    let http_client = match tap {
        Some(tap) => SharedHttpClient::new(Tapped {
            tap: tap.clone(),
            inner: plain,
        }),
        None => plain,
    };
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "AK", "SK", None, None, "test",
        )))
        .service_config(Endpoints {
            dynamodb: dynamodb.to_owned(),
            management: management.to_owned(),
        })
        .http_client(http_client)
        .build()
}

/// The tables that terraform/ declares.
pub(crate) async fn create_tables(client: &aws_sdk_dynamodb::Client) {
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .unwrap()
    };
    let attribute = |name: &str, kind: ScalarAttributeType| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .unwrap()
    };
    let string = |name: &str| attribute(name, ScalarAttributeType::S);
    client
        .create_table()
        .table_name(super::MESSAGES)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(string("room"))
        .attribute_definitions(attribute("seq", ScalarAttributeType::N))
        .key_schema(key("room", KeyType::Hash))
        .key_schema(key("seq", KeyType::Range))
        .send()
        .await
        .unwrap();
    client
        .create_table()
        .table_name(super::USERS)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(string("user"))
        .attribute_definitions(string("about"))
        .key_schema(key("user", KeyType::Hash))
        .key_schema(key("about", KeyType::Range))
        .send()
        .await
        .unwrap();
    let index = GlobalSecondaryIndex::builder()
        .index_name("room-index")
        .key_schema(key("room", KeyType::Hash))
        .key_schema(key("connectionId", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::Include)
                .non_key_attributes("user")
                .non_key_attributes("expiresAt")
                .non_key_attributes("presence")
                .non_key_attributes("batch")
                .build(),
        )
        .build()
        .unwrap();
    client
        .create_table()
        .table_name(super::TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(string("connectionId"))
        .attribute_definitions(string("room"))
        .key_schema(key("connectionId", KeyType::Hash))
        .key_schema(key("room", KeyType::Range))
        .global_secondary_indexes(index)
        .send()
        .await
        .unwrap();
}

#[derive(Debug)]
struct Endpoints {
    dynamodb: String,
    management: String,
}

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        match (key.service_id(), key.env()) {
            ("DynamoDB", "AWS_ENDPOINT_URL") => Some(self.dynamodb.clone()),
            ("ApiGatewayManagementApi", "AWS_ENDPOINT_URL") => Some(self.management.clone()),
            _ => None,
        }
    }
}

/// Sees every request to DynamoDB, and answers in its place when a test asks for that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Tapping>>);

#[derive(Debug, Default)]
struct Tapping {
    counts: BTreeMap<String, usize>,
    /// The same requests in order.
    order: Vec<String>,
    /// The most rows that each Query of the index asks for.
    pages: Vec<Option<u64>>,
    faults: Vec<Fault>,
    /// Replies to be lost, of an operation: the request is done nevertheless.
    lost: Vec<(&'static str, usize)>,
    /// The rows that the index of rooms shows, whatever the table holds.
    index: Option<String>,
    /// Operations whose requests are held, all but the first few.
    held: Vec<(&'static str, usize, Arc<Held>)>,
}

/// Requests that are held on their way.
#[derive(Debug, Default)]
pub(crate) struct Held {
    arrived: Notify,
    released: Notify,
    open: AtomicBool,
}

impl Held {
    /// Waits until a request is held.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets the held request go on.
    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    /// Lets the held request go on, and holds no other.
    pub(crate) fn release_all(&self) {
        self.open.store(true, Ordering::SeqCst);
        self.released.notify_waiters();
        self.released.notify_one();
    }

    async fn wait(&self) {
        self.arrived.notify_one();
        if !self.open.load(Ordering::SeqCst) {
            self.released.notified().await;
        }
    }
}

#[derive(Debug)]
struct Fault {
    operation: &'static str,
    after: usize,
    error: &'static str,
}

impl Tap {
    /// The number of requests of each operation. A Query of the index counts as `Query room-index`, a Query of the log as
    /// `Query messages`, and a read of a table that is not consistent as `… eventually`.
    pub(crate) fn counts(&self) -> Vec<(String, usize)> {
        self.0.lock().unwrap().counts.clone().into_iter().collect()
    }

    /// The operations in the order in which they were requested.
    pub(crate) fn order(&self) -> Vec<String> {
        self.0.lock().unwrap().order.clone()
    }

    /// The most rows that each Query of the index asks for, in order; none for a full page.
    pub(crate) fn pages(&self) -> Vec<Option<u64>> {
        self.0.lock().unwrap().pages.clone()
    }

    /// Lets the index of rooms show these connections, as (connection, user), whatever the table holds: it lags. None: it
    /// shows what the table holds. All of them want presence.
    pub(crate) fn index_shows(&self, rows: Option<&[(&str, &str)]>) {
        let answer = rows.map(|rows| {
            let items: Vec<Value> = rows
                .iter()
                .map(|(id, user)| {
                    json!({
                        "connectionId": {"S": id}, "user": {"S": user}, "presence": {"BOOL": true},
                        "expiresAt": {"N": "9999999999"},
                    })
                })
                .collect();
            json!({"Items": items, "Count": items.len(), "ScannedCount": items.len()}).to_string()
        });
        self.0.lock().unwrap().index = answer;
    }

    fn shown_index(&self, operation: &str) -> Option<HttpResponse> {
        let shown = self.0.lock().unwrap().index.clone();
        let shown = shown.filter(|_| operation == "Query room-index")?;
        Some(HttpResponse::new(
            StatusCode::try_from(200).unwrap(),
            shown.into(),
        ))
    }

    /// Fails every request of an operation, but for the first `after`.
    pub(crate) fn fail(&self, operation: &'static str, after: usize, error: &'static str) {
        self.0.lock().unwrap().faults.push(Fault {
            operation,
            after,
            error,
        });
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        let mut tapping = self.0.lock().unwrap();
        tapping.faults.clear();
        tapping.lost.clear();
    }

    /// Loses the replies to the next `count` requests of an operation, which are done nevertheless: the caller gets a
    /// 500 instead.
    pub(crate) fn lose(&self, operation: &'static str, count: usize) {
        self.0.lock().unwrap().lost.push((operation, count));
    }

    /// Holds the requests of an operation after the next `after`, until they are released.
    pub(crate) fn hold(&self, operation: &'static str, after: usize) -> Arc<Held> {
        let held = Arc::new(Held::default());
        let mut tapping = self.0.lock().unwrap();
        let seen = tapping.counts.get(operation).copied().unwrap_or(0);
        tapping
            .held
            .push((operation, seen + after, Arc::clone(&held)));
        held
    }

    /// Holds no further requests of an operation. Those that are held stay held.
    pub(crate) fn let_pass(&self, operation: &str) {
        let mut tapping = self.0.lock().unwrap();
        tapping.held.retain(|(held, ..)| *held != operation);
    }

    /// The hold on this request, which is counted already.
    fn holds(&self, operation: &str) -> Option<Arc<Held>> {
        let tapping = self.0.lock().unwrap();
        let count = tapping.counts.get(operation).copied().unwrap_or(0);
        let held = tapping
            .held
            .iter()
            .find(|(held, after, _)| *held == operation && count > *after);
        held.map(|(_, _, held)| Arc::clone(held))
    }

    /// True if the reply to this request must be lost.
    fn loses(&self, operation: &str) -> bool {
        let mut tapping = self.0.lock().unwrap();
        let lost = tapping
            .lost
            .iter_mut()
            .find(|(lost, left)| *lost == operation && *left > 0);
        lost.is_some_and(|(_, left)| {
            *left -= 1;
            true
        })
    }

    /// Notes a request to DynamoDB; the error that it gets instead of being sent.
    fn note(&self, request: &HttpRequest) -> Option<(String, Option<&'static str>)> {
        let target = request.headers().get("x-amz-target")?;
        let mut operation = target.rsplit('.').next()?.to_owned();
        let body = String::from_utf8_lossy(request.body().bytes()?).into_owned();
        if body.contains("room-index") {
            operation.push_str(" room-index");
        } else {
            let reads = matches!(operation.as_str(), "Query" | "GetItem");
            if body.contains(r#""TableName":"users""#) {
                operation.push_str(" users");
            }
            if body.contains(r#""TableName":"messages""#) {
                operation.push_str(" messages");
            }
            if reads && !body.contains(r#""ConsistentRead":true"#) {
                operation.push_str(" eventually");
            }
        }
        let mut tapping = self.0.lock().unwrap();
        if operation == "Query room-index" {
            let asked: Value = serde_json::from_str(&body).ok()?;
            tapping.pages.push(asked["Limit"].as_u64());
        }
        tapping.order.push(operation.clone());
        let count = tapping.counts.entry(operation.clone()).or_default();
        *count += 1;
        let count = *count;
        let fault = tapping
            .faults
            .iter()
            .find(|fault| fault.operation == operation && count > fault.after);
        let error = fault.map(|fault| fault.error);
        Some((operation, error))
    }
}

#[derive(Debug)]
struct Tapped<T> {
    tap: Tap,
    inner: T,
}

impl HttpClient for Tapped<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Tapped {
            tap: self.tap.clone(),
            inner,
        })
    }
}

impl HttpConnector for Tapped<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some((operation, error)) = self.tap.note(&request) else {
            return self.inner.call(request);
        };
        if let Some(error) = error {
            return HttpConnectorFuture::ready(Ok(refusal(error)));
        }
        if let Some(shown) = self.tap.shown_index(&operation) {
            return HttpConnectorFuture::ready(Ok(shown));
        }
        if let Some(held) = self.tap.holds(&operation) {
            let inner = self.inner.clone();
            return HttpConnectorFuture::new(async move {
                held.wait().await;
                inner.call(request).await
            });
        }
        let done = self.inner.call(request);
        if !self.tap.loses(&operation) {
            return done;
        }
        HttpConnectorFuture::new(async {
            done.await?;
            Ok(refusal("InternalServerError"))
        })
    }
}

/// An error as DynamoDB answers it.
fn refusal(error: &str) -> HttpResponse {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{error}","message":"no"}}"#);
    let status = if error == "InternalServerError" {
        500
    } else {
        400
    };
    HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into())
}
