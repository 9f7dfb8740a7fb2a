//! Invoking another function.

use std::time::Duration;

use chat::invoke::{Invocation, InvokeError, Invoker};

use crate::support::functions::{Answer, Functions};
use crate::support::{PATIENCE, invoker};

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:filter:live";

async fn invokes(invoker: &Invoker, invocation: Invocation) -> Result<String, InvokeError> {
    invoker
        .invoke(ARN, r#"{"a":1}"#, invocation, PATIENCE)
        .await
}

#[tokio::test]
async fn an_invocation_is_signed_and_returns_the_response() {
    let functions = Functions::start().await;
    functions.answer(&[Answer::Text("[1]".to_owned())]);
    let invoker = invoker(&functions);
    for (invocation, name) in [
        (Invocation::RequestResponse, "RequestResponse"),
        (Invocation::Event, "Event"),
    ] {
        assert_eq!(invokes(&invoker, invocation).await.unwrap(), "[1]");
        let invoked = functions.take().remove(0);
        assert_eq!(invoked.function, ARN);
        assert_eq!(invoked.event, serde_json::json!({"a": 1}));
        assert_eq!(invoked.headers["x-amz-invocation-type"], name);
        let signature = invoked.headers["authorization"].to_str().unwrap();
        assert!(
            signature.contains("/eu-west-1/lambda/aws4_request"),
            "{signature}"
        );
    }
}

#[tokio::test]
async fn an_invocation_that_has_not_begun_is_tried_once_more() {
    let functions = Functions::start().await;
    let invoker = invoker(&functions);
    let done = Answer::Text("1".to_owned());
    for first in [
        Answer::Cut,
        Answer::Refused(429, "TooManyRequestsException"),
        Answer::Refused(500, "ServiceException"),
    ] {
        functions.answer(&[first, done.clone()]);
        assert_eq!(
            invokes(&invoker, Invocation::RequestResponse)
                .await
                .unwrap(),
            "1"
        );
        assert_eq!(functions.take().len(), 2);
    }
    // A function that has failed has run.
    functions.answer(&[Answer::Failed, done.clone()]);
    let failed = invokes(&invoker, Invocation::RequestResponse).await;
    assert_eq!(
        failed.unwrap_err().to_string(),
        "the function failed (Unhandled)"
    );
    functions.answer(&[
        Answer::Refused(403, "AccessDeniedException:http://x/"),
        done,
    ]);
    let refused = invokes(&invoker, Invocation::RequestResponse).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "Lambda answered 403: AccessDeniedException"
    );
    assert_eq!(functions.take().len(), 2);
}

#[tokio::test]
async fn an_invocation_ends_with_its_time() {
    let functions = Functions::start().await;
    functions.answer(&[Answer::Hang]);
    let within = Duration::from_millis(50);
    let invoker = invoker(&functions);
    let done = invoker.invoke(ARN, "1", Invocation::RequestResponse, within);
    assert!(matches!(done.await, Err(InvokeError::TimedOut(_))));
}
