//! `@connections`, called by SDKs and by hand.

use serde_json::{Value, json};

use super::{KEY, id_of, probe, raw, upgrade};
use kit::eventually;

#[test]
fn the_management_api() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);

    assert_eq!(
        gateway.management("POST", &id, "hello"),
        (200, String::new(), String::new())
    );
    assert_eq!(client.receive_text(), "hello");
    assert_eq!(gateway.management("POST", &id, "").0, 200);
    assert_eq!(client.receive_text(), "", "an empty message is one too");
    let (status, _, body) = gateway.management("GET", &id, "");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["identity"]),
        (200, &json!({"sourceIp": "127.0.0.1"}))
    );
    for time in ["connectedAt", "lastActiveAt"] {
        let time = body[time].as_str().unwrap();
        assert!(
            time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{time}"
        );
    }
    // The largest message, and one that is a byte larger.
    assert_eq!(gateway.management("POST", &id, &"x".repeat(131_072)).0, 200);
    assert_eq!(client.receive_text().len(), 131_072);
    let (status, error_type, _) = gateway.management("POST", &id, &"x".repeat(131_073));
    assert_eq!(
        (status, error_type.as_str()),
        (413, "PayloadTooLargeException")
    );

    let (status, error_type, body) = gateway.management("POST", "not-an-id", "");
    assert_eq!((status, error_type.as_str()), (400, "BadRequestException"));
    assert_eq!(body, r#"{"message":"Invalid connectionId: not-an-id"}"#);
    // Another stage, and no stage.
    for prefix in ["/dev", ""] {
        let encoded = id.replace('=', "%3D");
        let (status, error_type, body) =
            gateway.http("POST", &format!("{prefix}/@connections/{encoded}"), "");
        assert_eq!(
            (status, error_type.as_str(), body.as_str()),
            (403, "ForbiddenException", r#"{"message":"Forbidden"}"#)
        );
    }
    for method in ["PUT", "PATCH", "OPTIONS"] {
        assert_eq!(gateway.management(method, &id, "").0, 403, "{method}");
    }
    // A well-formed id that never existed counts as gone.
    let too_large = "x".repeat(131_073);
    assert_eq!(
        gateway.management("POST", "AAAAAAAAAAAAAAA=", &too_large).0,
        410
    );

    assert_eq!(gateway.management("DELETE", &id, "").0, 204);
    for method in ["POST", "GET", "DELETE"] {
        let (status, error_type, body) = gateway.management(method, &id, "");
        assert_eq!(
            (status, error_type.as_str(), body.as_str()),
            (410, "GoneException", ""),
            "{method}"
        );
    }
    assert_eq!(gateway.management("POST", "AAAAAAAAAAAAAAA=", "").0, 410);
}

#[test]
fn a_connection_does_not_exist_while_its_connect_runs() {
    let gateway = probe(&[]);
    let _client = gateway.connect("/prod?do=self");
    gateway.wait_for_line("SELF [410, 410, 410]");
}

#[test]
fn a_full_buffer_is_429() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let large = "x".repeat(131_072);
    let (status, error_type, _) = eventually("the buffer is full", || {
        Some(gateway.management("POST", &id, &large)).filter(|(status, _, _)| *status != 200)
    });
    assert_eq!(
        (status, error_type.as_str()),
        (429, "LimitExceededException")
    );
    // A slow client is not gone: once it reads, it receives everything and can be posted to again.
    eventually("it reads", || {
        client.receive_text();
        (gateway.management("POST", &id, "last").0 == 200).then_some(())
    });
    while client.receive_text() != "last" {}
}

#[test]
fn an_id_is_decoded_once() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let encoded = id.replace('=', "%3D");
    let every: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in [
        format!("/prod/@connections/{id}"),
        format!("/prod/@connections/{encoded}"),
        format!("/prod/%40connections/{id}"),
        format!("/prod/%40connections/{encoded}"),
        format!("/%70rod/%40%63onnections/{every}"),
    ] {
        assert_eq!(gateway.http("POST", &path, &path).0, 200, "{path}");
        assert_eq!(client.receive_text(), path);
    }
    let twice = encoded.replace('%', "%25");
    let path = format!("/prod/@connections/{twice}");
    let (status, error_type, body) = gateway.http("POST", &path, "");
    assert_eq!((status, error_type.as_str()), (400, "BadRequestException"));
    assert_eq!(
        body,
        format!(r#"{{"message":"Invalid connectionId: {encoded}"}}"#)
    );
}

#[test]
fn an_answer_has_the_headers_of_aws() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let call = |method: &str, more: &str| {
        let request =
            format!("{method} /prod/@connections/{id} HTTP/1.1\r\nHost: localhost\r\n{more}");
        let answer = raw(&gateway, &request);
        for header in ["x-amzn-requestid: ", "x-amz-apigw-id: "] {
            assert!(
                answer.head.contains(&format!("\r\n{header}")),
                "{}",
                answer.head
            );
        }
        answer
    };
    // Any content type is accepted.
    let posted = call("POST", "Content-Length: 2\r\n\r\nhi");
    assert_eq!(posted.status, 200);
    for header in ["content-type: application/json", "content-length: 0"] {
        assert!(
            posted.head.contains(&format!("\r\n{header}\r\n")),
            "{}",
            posted.head
        );
    }
    assert_eq!(client.receive_text(), "hi");
    let deleted = call("DELETE", "\r\n");
    assert_eq!(deleted.status, 204);
    assert!(!deleted.head.contains("content-type"), "{}", deleted.head);
    let gone = call("DELETE", "\r\n");
    assert_eq!((gone.status, gone.body.as_str()), (410, ""));
    for header in ["x-amzn-errortype: goneexception", "content-length: 0"] {
        assert!(
            gone.head.contains(&format!("\r\n{header}\r\n")),
            "{}",
            gone.head
        );
    }
}

#[test]
fn posts_keep_their_order() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    for n in 0..100 {
        assert_eq!(gateway.management("POST", &id, &n.to_string()).0, 200);
    }
    for n in 0..100 {
        assert_eq!(client.receive_text(), n.to_string());
    }
}

#[test]
fn a_client_that_names_itself_is_described_so() {
    let gateway = probe(&["--env", "PRINT_EVENTS=1"]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    let request = upgrade("/prod", &format!("{KEY}User-Agent: tester\r\n"));
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let line = gateway.wait_for_line("EVENT ");
    let event: Value = serde_json::from_str(line.split_once("EVENT ").unwrap().1).unwrap();
    let id = event["requestContext"]["connectionId"].as_str().unwrap();
    let identity = eventually("it is open", || {
        let (status, _, body) = gateway.management("GET", id, "");
        (status == 200).then(|| serde_json::from_str::<Value>(&body).unwrap()["identity"].clone())
    });
    assert_eq!(
        identity,
        json!({"sourceIp": "127.0.0.1", "userAgent": "tester"})
    );
}
