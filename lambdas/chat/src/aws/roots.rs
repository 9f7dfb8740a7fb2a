//! The certificate authorities that the functions trust.
//!
//! Reading the system's 140 root certificates is nine tenths of the instructions before a function's first event. The
//! endpoints of AWS need five: those of Amazon Trust Services, which its repository lists for trust stores of one's own
//! (<https://www.amazontrust.com/repository/>).

use anyhow::Context as _;
use aws_config::Region;
use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

use crate::settings::Lookup;

/// Their certificates, some 1 KB each.
const AMAZON: &[u8] = include_bytes!("amazon_roots.pem");

/// The variables that set an endpoint, for all services or for one.
const ENDPOINTS: [&str; 4] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_LAMBDA",
    crate::settings::MANAGEMENT_ENDPOINT,
];

/// Variables that ask for the system's certificates or for a proxy. The SDK's own client reads them.
const OTHERS: [&str; 6] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Regions whose endpoints are not below `amazonaws.com`, or whose certificates may have other roots: China, the
/// European Sovereign Cloud, the isolated Regions.
const ELSEWHERE: [&str; 4] = ["cn-", "eusc-", "us-iso", "eu-iso"];

/// An HTTP client that trusts only Amazon's roots, if all endpoints are AWS's. Otherwise none: the SDK's own client
/// then trusts the system's roots.
///
/// # Errors
///
/// The certificates cannot be used.
pub(super) fn amazon_client(
    env: Lookup<'_>,
    region: &Region,
) -> anyhow::Result<Option<SharedHttpClient>> {
    let Some(context) = amazon_trust(env, region)? else {
        return Ok(None);
    };
    let client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https();
    Ok(Some(client))
}

/// The part of that client that a request without an SDK's client needs. It trusts the same roots.
///
/// # Errors
///
/// The certificates cannot be used.
pub(super) fn connector(env: Lookup<'_>, region: &Region) -> anyhow::Result<SharedHttpConnector> {
    let builder = Connector::builder()
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    let builder = match amazon_trust(env, region)? {
        Some(context) => builder.tls_context(context),
        None => builder,
    };
    Ok(SharedHttpConnector::new(builder.build()))
}

fn amazon_trust(env: Lookup<'_>, region: &Region) -> anyhow::Result<Option<TlsContext>> {
    if !is_amazon_alone(env, region.as_ref()) {
        return Ok(None);
    }
    let trust = TrustStore::empty().with_pem_certificate(AMAZON);
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .context("the root certificates of Amazon cannot be used")?;
    Ok(Some(context))
}

/// True if every TLS connection goes to an endpoint of AWS. Plain HTTP, as on a developer's machine, has no TLS.
fn is_amazon_alone(env: Lookup<'_>, region: &str) -> bool {
    let mut endpoints = ENDPOINTS.iter().filter_map(|name| env(name));
    !OTHERS.iter().any(|name| env(name).is_some())
        && !ELSEWHERE.iter().any(|prefix| region.starts_with(prefix))
        && endpoints.all(|url| match url.strip_prefix("https://") {
            Some(rest) => {
                let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
                host.ends_with(".amazonaws.com")
            }
            None => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificates_can_be_read() {
        let pem = std::str::from_utf8(AMAZON).unwrap();
        assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 5);
        let region = Region::new("eu-west-1");
        let client = amazon_client(&|_| None, &region).unwrap().unwrap();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(crate::aws::behavior_version())
            .region(region)
            .http_client(client);
        // Reads all certificates, and panics at an invalid one.
        let _ = aws_sdk_dynamodb::Client::from_conf(config.build());
    }

    #[test]
    fn amazons_roots_are_for_amazon_alone() {
        let alone = |pairs: &[(&str, &str)], region| {
            let pairs: Vec<(String, String)> = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let env = move |name: &str| {
                let found = pairs.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.clone())
            };
            is_amazon_alone(&env, region)
        };
        let api = "https://a1b2.execute-api.eu-west-1.amazonaws.com/prod";
        let management = crate::settings::MANAGEMENT_ENDPOINT;
        assert!(alone(&[], "eu-west-1"));
        assert!(alone(&[(management, api)], "us-gov-west-1"));
        assert!(alone(
            &[(management, "http://127.0.0.1:3001/prod")],
            "eu-west-1"
        ));
        for url in [
            "https://chat.example.org",
            "https://localhost:4566",
            "https://amazonaws.com.example.org/x.amazonaws.com",
            "https://a1b2.execute-api.cn-north-1.amazonaws.com.cn/prod",
        ] {
            assert!(!alone(&[(management, url)], "eu-west-1"), "{url}");
            assert!(!alone(&[("AWS_ENDPOINT_URL", url)], "eu-west-1"), "{url}");
        }
        for name in OTHERS {
            assert!(
                !alone(&[(management, api), (name, "x")], "eu-west-1"),
                "{name}"
            );
        }
        for region in [
            "cn-north-1",
            "eusc-de-east-1",
            "us-iso-east-1",
            "us-isob-east-1",
        ] {
            assert!(!alone(&[], region), "{region}");
        }
    }
}
