//! `wss://` and `https://` on the port of `ws://` and `http://`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::runtimes::Deployment;
use kit::{Gateway, PATIENCE, eventually};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Starts a gateway with a function that answers each message with its event, and returns the certificate to trust.
fn gateway() -> (Gateway, CertificateDer<'static>, TempDir) {
    let deployment = Deployment::new(
        &[
            ("echo", "python3.11", "index.echo"),
            ("back", "python3.11", "index.back"),
            ("nodeback", "nodejs20.x", "node.back"),
        ],
        "",
    )
    .file(
        "index.py",
        r#"
import json, ssl, urllib.error, urllib.request

def echo(event, context):
    return {"statusCode": 200, "body": json.dumps(event["requestContext"]["domainName"])}

def back(event, context):
    """What the SDKs do with an endpoint that is made from the event."""
    context = event["requestContext"]
    url = f"https://{context['domainName']}/{context['stage']}/@connections/{context['connectionId']}"
    statuses = []
    for trust in (ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=b'"posted"'), context=trust) as response:
                statuses.append(response.status)
        except urllib.error.URLError as error:
            statuses.append(type(error.reason).__name__)
        except ssl.SSLError as error:
            statuses.append(type(error).__name__)
    return {"statusCode": 200, "body": json.dumps(statuses)}
"#,
    )
    .file(
        "node.mjs",
        r#"export const back = async (event) => {
            const { domainName, stage, connectionId } = event.requestContext;
            const url = `https://${domainName}/${stage}/@connections/${encodeURIComponent(connectionId)}`;
            const { status } = await fetch(url, { method: "POST", body: '"posted"' });
            return { statusCode: 200, body: JSON.stringify([status]) };
        };"#,
    );
    let file = deployment.path().join("authority.pem");
    let gateway = deployment.start(&["--ca-file", file.to_str().unwrap()]);
    let pem = fs::read_to_string(&file).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let authority = CertificateDer::from(STANDARD.decode(text).unwrap());
    (gateway, authority, deployment.folder)
}

fn tls(gateway: &Gateway, name: &'static str, authority: Option<&CertificateDer<'static>>) -> Tls {
    let mut roots = RootCertStore::empty();
    if let Some(authority) = authority {
        roots.add(authority.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        stream,
    )
}

#[test]
fn tls_and_plain_clients_share_the_port() {
    let (gateway, authority, _folder) = gateway();
    for name in ["127.0.0.1", "localhost", "::1"] {
        let host = if name == "::1" { "[::1]" } else { name };
        let url = format!("wss://{host}:{}/prod", gateway.port);
        let stream = tls(&gateway, name, Some(&authority));
        let (mut socket, _) =
            tungstenite::client(url.into_client_request().unwrap(), stream).unwrap();
        // Longer than one TLS record.
        let padding = "x".repeat(30_000);
        let message = json!({"action": "echo", "padding": padding}).to_string();
        socket.send(Message::text(message)).unwrap();
        let answer = socket.read().unwrap().into_text().unwrap();
        assert_eq!(
            answer.as_str(),
            json!(format!("{host}:{}", gateway.port)).to_string()
        );
        socket.close(None).unwrap();
        // Reads to the end: the TLS connection is closed without an error too.
        while socket.read().is_ok() {}
    }
    let mut plain = gateway.connect("/prod");
    let domain = format!("127.0.0.1:{}", gateway.port);
    assert_eq!(plain.ask(&json!({"action": "echo"})), domain);
}

#[test]
fn the_certificate_is_for_nobody_else() {
    let (gateway, authority, _folder) = gateway();
    let hello = |mut stream: Tls| {
        stream
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .unwrap_err()
            .to_string()
    };
    assert!(hello(tls(&gateway, "127.0.0.1", None)).contains("UnknownIssuer"));
    assert!(hello(tls(&gateway, "example.com", Some(&authority))).contains("certificate"));
}

#[test]
fn functions_post_to_the_endpoint_that_their_event_names() {
    let (gateway, _, _folder) = gateway();
    let mut client = gateway.connect("/prod");
    for (function, statuses) in [
        // A function that does not trust the gateway cannot call it: so the first one used the certificate.
        ("back", json!([200, "SSLCertVerificationError"])),
        ("nodeback", json!([200])),
    ] {
        assert_eq!(client.ask(&json!({"action": function})), "posted");
        assert_eq!(client.receive(), statuses, "{function}");
    }
}

#[test]
fn what_only_begins_like_tls_ends_alone() {
    let (gateway, authority, _folder) = gateway();
    let mut healthy = gateway.connect("/prod");
    let begin = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    // Random bytes, a record that is too large, and one with an unknown version.
    for bytes in [
        &b"\x16GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\xff\xff rest",
        b"\x16\x02\x00\x00\x05hello",
    ] {
        let mut stream = begin(bytes);
        let mut rest = Vec::new();
        // The connection may be reset with unread bytes, but it ends without an HTTP answer.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    // Unfinished handshakes, and a client that leaves during one, do not block other clients.
    let unfinished: Vec<TcpStream> = (0..20).map(|_| begin(b"\x16\x03\x01")).collect();
    drop(begin(b"\x16\x03\x01"));
    drop(begin(b""));
    assert!(healthy.ask(&json!({"action": "echo"})).is_string());
    let stream = tls(&gateway, "localhost", Some(&authority));
    let url = format!("wss://localhost:{}/prod", gateway.port);
    assert!(tungstenite::client(url.into_client_request().unwrap(), stream).is_ok());
    drop(unfinished);
}

#[test]
fn the_event_says_how_the_client_came() {
    let deployment = Deployment::new(&[("none", "python3.11", "index.handler")], "")
        .file("index.py", "def handler(event, context):\n  print('CAME BY', (event.get('headers') or {}).get('X-Forwarded-Proto'))\n  return {'statusCode': 200}");
    let main = deployment.path().join("main.tf");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(
        &main,
        text.replace(
            "route_key                           = each.key",
            "route_key = \"$connect\"",
        ),
    )
    .unwrap();
    let file = deployment.path().join("authority.pem");
    let gateway = deployment.start(&["--ca-file", file.to_str().unwrap()]);
    let _plain = gateway.connect("/prod");
    gateway.wait_for_line("CAME BY http");
    assert!(
        !gateway
            .output()
            .iter()
            .any(|line| line.contains("CAME BY https"))
    );
    let pem = fs::read_to_string(&file).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let authority = CertificateDer::from(STANDARD.decode(text).unwrap());
    let stream = tls(&gateway, "localhost", Some(&authority));
    let url = format!("wss://localhost:{}/prod", gateway.port);
    let _client = tungstenite::client(url.into_client_request().unwrap(), stream).unwrap();
    eventually("https", || {
        gateway
            .output()
            .iter()
            .any(|line| line.contains("CAME BY https"))
            .then_some(())
    });
}
