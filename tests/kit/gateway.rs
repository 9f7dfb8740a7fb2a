//! Starts the gateway as a process, and calls each of its ports.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;

use crate::{Client, PATIENCE, binaries, eventually, functions, root};

type Lines = Arc<Mutex<Vec<String>>>;

/// Collects the lines of a stream, and calls `each` with every line.
fn collect(stream: impl Read + Send + 'static, each: impl Fn(&str) + Send + 'static) -> Lines {
    let lines = Lines::default();
    let collected = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            each(&line);
            collected.lock().unwrap().push(line);
        }
    });
    lines
}

/// A running gateway. Dropping it stops the process.
pub struct Gateway {
    process: Child,
    output: Lines,
    errors: Lines,
    /// The port of the WebSocket API and of `@connections`.
    pub port: u16,
    /// The URL of the tables.
    pub dynamodb: String,
}

impl Gateway {
    /// Starts the repository's own deployment, on free ports.
    pub fn start(flags: &[&str]) -> Gateway {
        Gateway::start_with(&root().join("terraform"), flags)
    }

    /// Starts the deployment of another Terraform folder, on free ports.
    pub fn start_with(terraform: &Path, flags: &[&str]) -> Gateway {
        let mut process = command(terraform, flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = collect(process.stdout.take().unwrap(), |_| {});
        let errors = collect(process.stderr.take().unwrap(), |line| eprintln!("{line}"));
        let mut gateway = Gateway {
            process,
            output,
            errors,
            port: 0,
            dynamodb: String::new(),
        };
        if flags.contains(&"json") {
            let ready: Value = serde_json::from_str(&gateway.wait_for_line("\"ready\"")).unwrap();
            let text = |name: &str| ready[name].as_str().unwrap().to_owned();
            gateway.port = port_of(&text("websocket"));
            gateway.dynamodb = text("dynamodb");
            return gateway;
        }
        gateway.wait_for_line("Ready");
        gateway.port = port_of(&gateway.wait_for_line("ws://"));
        let dynamodb = gateway.wait_for_line("DynamoDB ");
        gateway.dynamodb = dynamodb.split_whitespace().nth(1).unwrap().to_owned();
        gateway
    }

    /// The WebSocket URL of a path and query.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("ws://127.0.0.1:{}{path_and_query}", self.port)
    }

    /// Connects and joins a room.
    pub fn join(&self, room: &str, user: &str) -> Client {
        self.connect(&format!("/prod?room={room}&user={user}"))
    }

    /// Connects, and fails the test when the gateway refuses.
    pub fn connect(&self, path_and_query: &str) -> Client {
        self.try_connect(path_and_query)
            .unwrap_or_else(|status| panic!("{path_and_query}: {status}"))
    }

    /// Connects; an error is the HTTP status of the refusal.
    pub fn try_connect(&self, path_and_query: &str) -> Result<Client, u16> {
        let (client, _) = self.try_connect_with(path_and_query, &[])?;
        Ok(client)
    }

    /// The client and the subprotocol that the gateway answers, or the status that refused it. The handshake has these
    /// headers besides.
    pub fn try_connect_with(
        &self,
        path_and_query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client, Option<String>), u16> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = self.url(path_and_query).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((socket, response)) => {
                let subprotocol = response.headers().get("sec-websocket-protocol");
                let subprotocol = subprotocol.map(|value| value.to_str().unwrap().to_owned());
                Ok((Client { socket }, subprotocol))
            }
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{path_and_query}: {error}"),
        }
    }

    /// Begins a handshake and closes the socket before the answer.
    pub fn abandon_handshake(&self, path_and_query: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "GET {path_and_query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2FtcGxlLXNhbXBsZS0xNg==\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    }

    /// All lines printed so far.
    pub fn output(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }

    /// All lines of standard error so far. There are none, unless a part of the gateway has panicked.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }

    /// Waits for a line that contains `text`, and returns the first.
    pub fn wait_for_line(&self, text: &str) -> String {
        eventually(text, || {
            self.output().into_iter().find(|line| line.contains(text))
        })
    }

    /// Calls `@connections`: status, `x-amzn-errortype` and body.
    pub fn management(
        &self,
        method: &str,
        connection_id: &str,
        body: &str,
    ) -> (u16, String, String) {
        let id = connection_id.replace('=', "%3D");
        self.http(method, &format!("/prod/@connections/{id}"), body)
    }

    /// Sends an HTTP request to the WebSocket port: status, `x-amzn-errortype` and body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let mut response = exchange(method, &url, body);
        let error_type = response
            .headers()
            .get("x-amzn-errortype")
            .map(|v| v.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        (
            status,
            error_type.unwrap_or_default(),
            response.body_mut().read_to_string().unwrap(),
        )
    }

    /// The port of the admin endpoint.
    pub fn admin_port(&self) -> String {
        // `Admin         http://…`, or a field of the event `ready`.
        let output = self.output();
        let ready = output.iter().find(|line| line.contains("\"ready\""));
        let address = match ready.and_then(|line| serde_json::from_str::<Value>(line).ok()) {
            Some(ready) => ready["admin"].as_str().unwrap().to_owned(),
            None => self.wait_for_line("Admin "),
        };
        let port = address.rsplit(':').next().unwrap();
        port.trim_end_matches('/').to_owned()
    }

    /// Calls the admin endpoint and returns the body, whatever the status.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.admin_port());
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut response = exchange(method, &url, &body);
        response.body_mut().read_json().unwrap()
    }

    /// Moves the clock of a gateway that has an admin port.
    pub fn pass(&self, seconds: u32) {
        self.admin("POST", "/clock", &json!({ "advance": seconds }));
    }

    /// Waits until every process has asked for its next event. Moving the clock would shorten a running invocation.
    pub fn at_rest(&self) {
        eventually("nothing runs", || {
            let status = self.admin("GET", "/status", &Value::Null);
            let functions = status["functions"].as_object().unwrap();
            let rests = |pool: &Value| pool["running"] == 0 && pool["waiting"] == 0;
            functions.values().all(rests).then_some(())
        });
    }

    /// The folder of the gateway's process in `/proc`.
    pub fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string())
    }

    /// Calls DynamoDB, and fails the test when it answers with an error.
    pub fn dynamodb(&self, operation: &str, request: &Value) -> Value {
        ureq::post(&self.dynamodb)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x",
            )
            .header("x-amz-date", "20260101T000000Z")
            .send(request.to_string())
            .unwrap_or_else(|error| panic!("{operation}: {error}"))
            .body_mut()
            .read_json()
            .unwrap()
    }

    /// The rows of the connections table.
    pub fn rows(&self) -> Vec<Value> {
        let scanned = self.dynamodb("Scan", &json!({ "TableName": "roomchat-prod-connections" }));
        scanned["Items"].as_array().unwrap().clone()
    }

    /// The id of the only connection of `user`.
    pub fn connection_of(&self, user: &str) -> String {
        let row = self
            .rows()
            .into_iter()
            .find(|row| row["user"]["S"] == user)
            .expect(user);
        row["connectionId"]["S"].as_str().unwrap().to_owned()
    }

    /// Puts the row of a connection that does not exist into a room, as after a lost `$disconnect`.
    pub fn put_ghost(&self, connection_id: &str, room: &str, age_seconds: i64) {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let connected = i64::try_from(now.as_secs()).unwrap() - age_seconds;
        self.dynamodb(
            "PutItem",
            &json!({
                "TableName": "roomchat-prod-connections",
                "Item": {
                    "connectionId": {"S": connection_id},
                    "room": {"S": room},
                    "user": {"S": "ghost"},
                    "connectedAt": {"N": (connected * 1000).to_string()},
                    "expiresAt": {"N": (connected + 7800).to_string()},
                }
            }),
        );
    }

    /// Sends a signal to the gateway, and not to its functions.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Stops the gateway without waiting for functions that hang.
    pub fn end_at_once(&self) {
        self.signal("-INT");
        self.wait_for_line("Stopping:");
        self.signal("-INT");
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the gateway's end", || self.process.try_wait().unwrap())
    }

    /// The ids of the processes that the gateway has started.
    pub fn children(&self) -> Vec<u32> {
        let output = Command::new("pgrep")
            .args(["-P", &self.process.id().to_string()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.signal("-TERM");
        }
        if std::thread::panicking() {
            eprintln!(
                "--- what the gateway printed ---\n{}",
                self.output().join("\n")
            );
        }
        for _ in 0..1500 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends an HTTP request and returns the response, whatever the status.
fn exchange(method: &str, url: &str, body: &str) -> ureq::http::Response<ureq::Body> {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(url)
        .body(body.to_owned())
        .unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .into();
    agent.run(request).unwrap()
}

/// The port of a URL that ends in a stage.
fn port_of(url: &str) -> u16 {
    url.rsplit([':', '/']).nth(1).unwrap().parse().unwrap()
}

/// The gateway's command line, with free ports unless `flags` name others.
pub fn command(terraform: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(binaries().join("roomchat-local"));
    command.arg("--terraform").arg(terraform);
    for (flag, value) in [
        ("--functions", functions().display().to_string()),
        ("--port", "0".to_owned()),
        ("--log", "text".to_owned()),
    ] {
        if !flags.contains(&flag) {
            command.args([flag, &value]);
        }
    }
    // Tests say more in a second than a person does. The limits are counted, and reached in tests of their own alone.
    let declared = fs::read_to_string(terraform.join("variables.tf")).unwrap_or_default();
    if declared.contains("variable \"limits\"")
        && !flags.iter().any(|flag| flag.starts_with("limits="))
    {
        command.args([
            "--var",
            "limits={ per_user = 200, per_room = 0, frames_per_second = 10000, burst = 10000 }",
        ]);
    }
    command.args(flags);
    command
}
