//! The certificate of the gateway's port, and the files that make functions trust it.
//!
//! API Gateway's certificate is signed by a public authority. The gateway's is signed by an authority that is made at
//! each start. The authority's key is dropped at once, so that nobody can sign anything else with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chrono::{Datelike as _, Days, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::account::API_ID;

/// The names in the certificate: those of the loopback interface.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The Regions in which code may look for the API: it may build the host of the API's address by itself.
/// <https://docs.aws.amazon.com/general/latest/gr/apigateway.html>
const REGIONS: [&str; 34] = [
    "af-south-1",
    "ap-east-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// The life of the certificate. Clients refuse a server's certificate of more than 398 days.
const VALID_DAYS: u64 = 397;

/// The gateway's certificate and its authority's.
pub struct Identity {
    /// Accepts TLS connections with the certificate.
    pub acceptor: TlsAcceptor,
    /// The authority's certificate. A client that has it trusts the gateway.
    pub authority_pem: String,
}

impl Identity {
    /// Makes both certificates.
    ///
    /// # Errors
    /// Fails if the system has no randomness, in practice never.
    pub fn make() -> Result<Identity> {
        let params = |name: &str, names: &[&str]| -> Result<CertificateParams> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            let today = Utc::now().date_naive();
            let date = |date: NaiveDate| {
                let [month, day] = [date.month(), date.day()].map(|n| u8::try_from(n).unwrap_or(1));
                date_time_ymd(date.year(), month, day)
            };
            // A client's clock may be behind.
            params.not_before = date(today - Days::new(1));
            params.not_after = date(today + Days::new(VALID_DAYS - 1));
            params.use_authority_key_identifier_extension = true;
            Ok(params)
        };
        let mut authority = params("roomchat-local authority", &[])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let authority_pem = authority.self_signed(&authority_key)?.pem();

        let hosts = REGIONS.map(|region| format!("{API_ID}.execute-api.{region}.amazonaws.com"));
        let names: Vec<&str> = NAMES
            .into_iter()
            .chain(hosts.iter().map(String::as_str))
            .collect();
        let mut server = params("roomchat-local", &names)?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Identity {
            acceptor: Arc::new(config).into(),
            authority_pem,
        })
    }

    /// Writes the authority's certificate to `directory`, alone and with this machine's roots, and returns the environment
    /// variables that make clients of the usual languages read it.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn trust(&self, directory: &Path) -> Result<BTreeMap<String, String>> {
        let alone = directory.join("authority.pem");
        let all = directory.join("roots.pem");
        // A root that cannot be read is missing in the bundle, as it is missing for every program here.
        let roots = rustls_native_certs::load_native_certs().certs;
        let roots = roots
            .into_iter()
            .map(|root| pem::Pem::new("CERTIFICATE", root.to_vec()));
        let roots = pem::encode_many(&roots.collect::<Vec<_>>());
        for (path, text) in [
            (&alone, &self.authority_pem),
            (&all, &format!("{}{roots}", self.authority_pem)),
        ] {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let variables = [
            // Node.js adds it to its own roots.
            ("NODE_EXTRA_CA_CERTS", &alone),
            // OpenSSL and rustls, botocore, and Python's requests read these in place of their own roots.
            ("SSL_CERT_FILE", &all),
            ("AWS_CA_BUNDLE", &all),
            ("REQUESTS_CA_BUNDLE", &all),
        ];
        let variable = |(name, path): (&str, &std::path::PathBuf)| {
            (name.to_owned(), path.display().to_string())
        };
        Ok(variables.into_iter().map(variable).collect())
    }
}
