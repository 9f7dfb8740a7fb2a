//! `$default`: answers each frame without a route with an error that lists the actions.

use super::answer::beyond;
use super::frame_limit::FrameLimit;
use crate::lambda::{Reply, Request};
use crate::metrics;
use crate::protocol::{Correlation, Failure, Frame};

/// Answers a frame without a route. `known` are the actions of the API.
pub async fn default(known: &[String], limit: &FrameLimit, request: &Request) -> Reply {
    if let Some(reply) = beyond(limit, request).await {
        return reply;
    }
    let (failure, to) = refuse(known, &request.body);
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        error = failure.name.as_str(),
        duration_ms = request.duration_ms(),
        "frame refused"
    );
    metrics::refused(&request.request_id, request.now_ms, &failure);
    Reply::frame(failure.render(&to))
}

fn refuse(known: &[String], body: &str) -> (Failure, Correlation) {
    let frame = match Frame::parse(body) {
        Ok(frame) => frame,
        Err(failure) => return (failure, Correlation::default()),
    };
    let failure = match frame.action() {
        Ok(Some(action)) if !action.is_empty() => Failure::unknown_action(&action, known),
        Ok(_) => Failure::no_action(known),
        Err(failure) => failure,
    };
    (failure, frame.correlation())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn answer(body: &str) -> Value {
        let known = ["ping", "publish", "sendmessage"].map(str::to_owned);
        let (failure, to) = refuse(&known, body);
        serde_json::from_str(&failure.render(&to)).unwrap()
    }

    #[test]
    fn an_unknown_action_is_told_the_known_ones() {
        assert_eq!(
            answer(r#"{"action":"dance","id":"m1","data":1}"#),
            json!({
                "type": "error", "id": "m1", "action": "dance", "code": 404, "name": "unknown_action",
                "message": "there is no action \"dance\"; there are ping, publish, sendmessage; \
                            to say something, send {\"action\":\"publish\",\"data\":\"hi\"}",
                "temporary": false,
            })
        );
    }

    #[test]
    fn a_frame_without_an_action_is_told_the_known_ones() {
        for body in [
            "{}",
            r#"{"action":null}"#,
            r#"{"action":""}"#,
            r#"{"data":"hi"}"#,
        ] {
            let error = answer(body);
            assert_eq!(error["name"], "bad_request", "{body}");
            assert_eq!(
                error["message"],
                "action is missing; there are ping, publish, sendmessage; \
                 to say something, send {\"action\":\"publish\",\"data\":\"hi\"}"
            );
        }
        assert_eq!(
            answer(r#"{"action":5,"id":"m1"}"#)["message"],
            "action must be a string"
        );
        assert_eq!(answer(r#"{"action":5,"id":"m1"}"#)["id"], "m1");
    }

    #[test]
    fn plain_text_is_told_how_to_speak() {
        for body in ["hello", "", "[]", "5"] {
            let error = answer(body);
            assert_eq!(
                (&error["code"], &error["name"]),
                (&400.into(), &"bad_request".into()),
                "{body}"
            );
            let message = error["message"].as_str().unwrap();
            assert!(
                message.ends_with(r#"send {"action":"publish","data":"hi"}"#),
                "{message}"
            );
        }
    }

    #[test]
    fn a_huge_action_is_not_thrown_back() {
        let error = answer(&json!({"action": "語".repeat(40_000)}).to_string());
        assert_eq!(error["name"], "unknown_action");
        assert!(error.to_string().len() < 1_000);
    }

    proptest! {
        #[test]
        fn anything_gets_an_error_frame(bytes in any::<Vec<u8>>()) {
            // API Gateway hands over text alone.
            let error = answer(&String::from_utf8_lossy(&bytes));
            prop_assert_eq!(&error["type"], "error");
            prop_assert!(["bad_request", "unknown_action"].contains(&error["name"].as_str().unwrap()));
        }

        #[test]
        fn any_action_gets_an_error_frame(action in any::<String>()) {
            let error = answer(&json!({"action": action}).to_string());
            prop_assert_eq!(&error["type"], "error");
            prop_assert!(error.to_string().len() < 2_000);
        }
    }
}
