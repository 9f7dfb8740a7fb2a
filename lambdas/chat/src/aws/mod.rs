//! Builds the SDK's clients. No other file builds one.
//!
//! Both services share one configuration, made before the first event. Every value comes from the environment that Lambda
//! sets. The SDK's usual chain of sources would also ask a metadata service, which a laptop does not have.

use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_apigatewaymanagement::config::interceptors::InterceptorContext;
use aws_sdk_apigatewaymanagement::config::retry::{
    ClassifyRetry, RetryAction, RetryPartition, TokenBucket,
};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::actions::Moderation;
use crate::delivery::ManagementApi;
use crate::invoke::Invoker;
use crate::log::Log;
use crate::members::{Connections, Personal, Presence, Users};
use crate::paced::{Leases, Paced};
use crate::settings::{self, ConnectionsTable, Delivery, Live, MessagesTable, Pace, UsersTable};

mod roots;

/// Pinned, so that an update of the SDK changes no timeout and no retry.
pub fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The configuration of this process.
///
/// Built by hand: the loader of `aws-config` contains the whole chain of sources, and none of them is needed.
///
/// # Errors
///
/// No Region is set.
pub fn config() -> anyhow::Result<SdkConfig> {
    let env: settings::Lookup<'_> = &process;
    let Some(region) = env("AWS_REGION").or_else(|| env("AWS_DEFAULT_REGION")) else {
        bail!("AWS_REGION is not set: it must hold the Region of the tables");
    };
    let region = Region::new(region);
    let mut config = SdkConfig::builder()
        .behavior_version(behavior_version())
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .identity_cache(IdentityCache::lazy().build())
        .service_config(Endpoints);
    config.set_http_client(roots::amazon_client(env, &region)?);
    config.set_endpoint_url(env("AWS_ENDPOINT_URL"));
    let is_true = |name: &str| env(name).map(|value| value.eq_ignore_ascii_case("true"));
    config.set_use_fips(is_true("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(is_true("AWS_USE_DUALSTACK_ENDPOINT"));
    Ok(config.region(region).build())
}

/// The SDK's variables for the settings of one service: `AWS_ENDPOINT_URL_DYNAMODB` and the like.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        process(&format!("{}_{service}", key.env()))
    }
}

/// An empty variable counts as not set.
fn process(name: &str) -> Option<String> {
    settings::process(name).filter(|value| !value.is_empty())
}

/// Lambda's API for invocations, at `AWS_ENDPOINT_URL_LAMBDA`, `AWS_ENDPOINT_URL`, or AWS's own endpoint of the Region.
///
/// # Errors
///
/// The configuration has no Region or no credentials, or the root certificates cannot be used.
pub fn invoker(config: &SdkConfig) -> anyhow::Result<Invoker> {
    let region = config.region().context("no Region is set")?;
    let credentials = config.credentials_provider().context("no credentials")?;
    let key = ServiceConfigKey::builder()
        .service_id("Lambda")
        .profile("endpoint_url")
        .env("AWS_ENDPOINT_URL")
        .build()?;
    let of_service = config
        .service_config()
        .and_then(|settings| settings.load_config(key));
    let endpoint = of_service.or_else(|| config.endpoint_url().map(str::to_owned));
    let endpoint = endpoint.unwrap_or_else(|| {
        let fips = match config.use_fips() {
            Some(true) => "-fips",
            _ => "",
        };
        let domain = match (config.use_dual_stack(), region.as_ref().starts_with("cn-")) {
            (Some(true), false) => "api.aws",
            (Some(true), true) => "api.amazonwebservices.com.cn",
            (_, false) => "amazonaws.com",
            (_, true) => "amazonaws.com.cn",
        };
        format!("https://lambda{fips}.{region}.{domain}")
    });
    Ok(Invoker::new(
        roots::connector(&process, region)?,
        credentials,
        region.clone(),
        endpoint.trim_end_matches('/').to_owned(),
    ))
}

/// The table of connections.
pub fn connections(config: &SdkConfig, table: ConnectionsTable) -> Connections {
    Connections::new(dynamodb(config), table)
}

/// Presence, with the settings of `env`.
///
/// # Errors
///
/// Names the missing or invalid variable.
pub fn presence(config: &SdkConfig, env: settings::Lookup<'_>) -> anyhow::Result<Presence> {
    let delivery = Delivery::read(env)?;
    let connections = connections(config, ConnectionsTable::read(env)?);
    let management = management_api(config, &delivery);
    Ok(Presence::new(
        connections,
        management,
        delivery,
        Live::read(env)?,
    ))
}

/// The table of users.
pub fn users(config: &SdkConfig, table: UsersTable) -> Users {
    Users::new(dynamodb(config), table)
}

/// The marks and blocks in the table of users.
pub fn personal(config: &SdkConfig, table: UsersTable) -> Personal {
    Personal::new(dynamodb(config), table)
}

/// The parts of moderation.
pub fn moderation(
    config: &SdkConfig,
    connections: ConnectionsTable,
    users: UsersTable,
    audit: MessagesTable,
    delivery: &Delivery,
    live: Live,
) -> Moderation {
    let connections = self::connections(config, connections);
    let management = management_api(config, delivery);
    Moderation {
        presence: Presence::new(
            connections.clone(),
            management.clone(),
            delivery.clone(),
            live,
        ),
        connections,
        users: self::users(config, users),
        management,
        audit: log(config, audit),
    }
}

/// The table of messages.
pub fn log(config: &SdkConfig, history: MessagesTable) -> Log {
    Log::new(dynamodb(config), history)
}

/// The delivery of busy rooms, unless it is off: settings of `env`, leases in the table of messages.
///
/// # Errors
///
/// Names the missing or invalid variable.
pub fn paced(
    config: &SdkConfig,
    history: &MessagesTable,
    env: settings::Lookup<'_>,
) -> anyhow::Result<Option<Paced>> {
    let Some(pace) = Pace::read(env)? else {
        return Ok(None);
    };
    Ok(Some(Paced {
        leases: Leases::new(dynamodb(config), history),
        invoker: invoker(config)?,
        pace,
    }))
}

/// A read or write takes some milliseconds. After 2 s it counts as lost and is tried again, up to three tries in 5 s.
fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(config)
        .timeout_config(timeouts(Duration::from_secs(2), Duration::from_secs(5)))
        .retry_config(retries())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// The management API at the endpoint of `config`.
///
/// The tries of all posts share one bucket of tokens, 5 tokens a try. The SDK's own bucket holds 500: after a hundred
/// throttled posts every later 429 would fail at once.
pub fn management_api(config: &SdkConfig, delivery: &Delivery) -> ManagementApi {
    let bucket = TokenBucket::builder().capacity(5_000).build();
    let config = aws_sdk_apigatewaymanagement::config::Builder::from(config)
        .timeout_config(timeouts(delivery.attempt_timeout, delivery.post_timeout))
        .retry_config(retries())
        .retry_classifier(TooManyRequests)
        .retry_partition(
            RetryPartition::custom("fan-out")
                .token_bucket(bucket)
                .build(),
        )
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    ManagementApi::new(aws_sdk_apigatewaymanagement::Client::from_conf(config))
}

/// The SDK itself has a timeout for connecting only (3.1 s).
fn timeouts(attempt: Duration, all: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(attempt)
        .operation_timeout(all)
        .build()
}

/// Three tries with full jitter. The SDK's first pause is up to 1 s: too long for a sender that waits for an ack.
fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100))
        .with_max_backoff(Duration::from_secs(1))
}

/// Treats every 429 as a throttle. The SDK goes by the error's type, which comes in a header that an emulator may leave
/// out.
#[derive(Debug)]
struct TooManyRequests;

impl ClassifyRetry for TooManyRequests {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 429 => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "429 of any kind"
    }
}
