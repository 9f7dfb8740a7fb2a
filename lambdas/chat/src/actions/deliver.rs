//! The pump of a busy room: delivers what is said there until nothing is said for 2 s, or its time is over.

use super::{Answered, App, Call};
use crate::identity::Caller;
use crate::lambda::Request;
use crate::paced::{Handed, Part, lead};
use crate::protocol::ErrorName;

/// Takes over the lease that the event names, and delivers.
pub async fn deliver(app: &App, call: &Call<'_>) -> Answered {
    let answered = |error| Answered {
        frame: "null".to_owned(),
        error,
        asynchronous: false,
    };
    let Some(paced) = app.paced() else {
        tracing::error!("busy rooms are off, and the pump was invoked");
        return answered(Some(ErrorName::Internal));
    };
    let handed: Handed = match serde_json::from_str(call.body) {
        Ok(handed) => handed,
        Err(error) => {
            tracing::error!(request_id = call.request_id, cause = %error, "the event is not a lease that is handed over");
            return answered(Some(ErrorName::BadRequest));
        }
    };
    let request = Request {
        // No connection has this id, so a delivery leaves nobody out.
        connection_id: String::new(),
        caller: Caller::Backend(String::new()),
        connected_ms: call.now_ms,
        offers_subprotocol: false,
        origins: Vec::new(),
        source_ip: None,
        request_id: call.request_id.to_owned(),
        body: String::new(),
        query: Vec::new(),
        close_code: None,
        now_ms: call.now_ms,
        started: call.started,
        deadline: call.deadline,
    };
    let part = Part::Pump {
        handed_by: &handed.handed_by,
        members: handed.members,
    };
    let led = Box::pin(lead(app, paced, &request, &handed.room, part)).await;
    tracing::info!(
        request_id = call.request_id,
        room = handed.room,
        rounds = led.rounds,
        messages = led.messages,
        posts = led.posts,
        duration_ms = request.duration_ms(),
        "delivered"
    );
    answered(None)
}
