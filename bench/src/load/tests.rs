//! Tests the load client, most of them with services that have one defect each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// The defect of a service.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// The last member receives every message twice.
    Doubles,
    /// The last member receives every message again after a pause.
    DoublesLate,
    /// The sender receives every ack twice.
    AcksTwice,
    /// The last member receives no message.
    Loses,
    /// The ack counts one member too many.
    Boasts,
    /// The data is another.
    Garbles,
}

/// Starts a chat with one room, on a free port. `serve` gets each frame, the number of its sender, and the members.
async fn chat(
    serve: impl Fn(usize, &Value, &[UnboundedSender<Value>]) + Send + Sync + 'static,
) -> Result<Address> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let members: Arc<Mutex<Vec<UnboundedSender<Value>>>> = Arc::default();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (outbox, mut outgoing) = unbounded_channel();
            let own = {
                let mut members = members.lock().unwrap();
                members.push(outbox);
                members.len() - 1
            };
            let (serve, members) = (Arc::clone(&serve), Arc::clone(&members));
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                let (mut sink, mut stream) = socket.split();
                loop {
                    tokio::select! {
                        Some(frame) = outgoing.recv() => sink.send(Message::text(frame.to_string())).await.unwrap(),
                        Some(Ok(Message::Text(said))) = stream.next() => {
                            serve(own, &serde_json::from_str(&said).unwrap(), &members.lock().unwrap());
                        }
                        else => return,
                    }
                }
            });
        }
    });
    Ok(Address::local(port, "/"))
}

/// Starts a service with a defect.
async fn service(wrong: Wrong) -> Result<Address> {
    chat(move |own, said, members| publish(wrong, own, said, members)).await
}

fn publish(wrong: Wrong, sender: usize, said: &Value, members: &[UnboundedSender<Value>]) {
    let data = if wrong == Wrong::Garbles {
        json!("…")
    } else {
        said["data"].clone()
    };
    let message = json!({"type": "message", "id": said["id"], "data": data});
    let last = members.len() - 1;
    for (number, member) in members
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != sender)
    {
        let copies = match wrong {
            Wrong::Doubles if number == last => 2,
            Wrong::Loses if number == last => 0,
            _ => 1,
        };
        for _ in 0..copies {
            member.send(message.clone()).unwrap();
        }
        if wrong == Wrong::DoublesLate && number == last {
            let (member, message) = (member.clone(), message.clone());
            tokio::spawn(async move {
                sleep(2 * SETTLE).await;
                let _ = member.send(message);
            });
        }
    }
    let delivered = if wrong == Wrong::Boasts {
        last + 1
    } else {
        last
    };
    let ack = json!({"type": "ack", "id": said["id"], "delivered": delivered});
    let acks = if wrong == Wrong::AcksTwice { 2 } else { 1 };
    for _ in 0..acks {
        members[sender].send(ack.clone()).unwrap();
    }
}

async fn measure(wrong: Wrong) -> Result<Round> {
    let address = service(wrong).await?;
    // One after the other, so that the service's last member is not the publishing one.
    let mut members = Vec::new();
    for user in ["alice", "bob", "carol"] {
        members.push(address.join("lobby", user).await?);
    }
    Ok(talk(
        members,
        "test",
        1,
        Duration::from_millis(50),
        usize::MAX,
        Duration::ZERO,
    )
    .await?
    .1)
}

#[tokio::test]
async fn a_service_that_does_its_work_has_figures() {
    let round = measure(Wrong::Nothing).await.unwrap();
    assert!(round.messages >= 1);
    assert_eq!(round.deliveries, 2 * round.messages);
    assert_eq!(round.delivery_us.len(), round.deliveries);
    assert_eq!(round.ack_us.len(), round.messages);
}

#[tokio::test]
async fn a_message_that_comes_again_is_counted_once() {
    let round = measure(Wrong::Doubles).await.unwrap();
    assert_eq!(round.deliveries, 2 * round.messages);
    assert_eq!(round.doubled, round.messages);

    // The copy comes in the next round.
    let address = service(Wrong::DoublesLate).await.unwrap();
    let mut members = Vec::new();
    for user in ["alice", "bob"] {
        members.push(address.join("lobby", user).await.unwrap());
    }
    let (members, first) = talk(members, "one", 1, Duration::ZERO, 1, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((first.messages, first.doubled), (1, 0));
    let (_, second) = talk(members, "two", 1, 4 * SETTLE, usize::MAX, Duration::ZERO)
        .await
        .unwrap();
    assert!(second.doubled >= 1);
    assert_eq!(second.deliveries, second.messages);
}

#[tokio::test]
async fn one_that_does_not_has_none() {
    for (wrong, complaint) in [
        (Wrong::AcksTwice, "an ack came twice"),
        (Wrong::Loses, "and then none"),
        (Wrong::Boasts, "not all of 2 got it"),
        (Wrong::Garbles, "not what was said"),
    ] {
        let error = measure(wrong).await.expect_err("a figure");
        assert!(
            format!("{error:#}").contains(complaint),
            "{wrong:?}: {error:#}"
        );
    }
}

/// Serves a chat with a log. Every third message does not reach one of the other members. The answers to `history` have
/// messages only if `repairs`.
fn serve(
    repairs: bool,
    own: usize,
    said: &Value,
    log: &mut Vec<Value>,
    members: &[UnboundedSender<Value>],
) {
    let head = log.len();
    let answer = match said["action"].as_str().unwrap() {
        "join" => {
            assert_eq!(said["batch"], true);
            json!({"type": "joined", "head": head})
        }
        "history" => {
            let after = usize::try_from(said["after"].as_u64().unwrap()).unwrap();
            let rest = if repairs { &log[after..] } else { &[] };
            json!({"type": "history", "id": said["id"], "head": head, "messages": rest})
        }
        _ => {
            let seq = head + 1;
            let message =
                json!({"type": "message", "seq": seq, "id": said["id"], "data": said["data"]});
            log.push(message.clone());
            let number = number_in("lobby", said["id"].as_str().unwrap()).unwrap();
            let missed = (number % 3 == 1).then_some((own + 1) % members.len());
            for (_, member) in members
                .iter()
                .enumerate()
                .filter(|(number, _)| Some(*number) != missed)
            {
                let batch = json!({"type": "messages", "messages": [message]});
                member.send(batch).unwrap();
            }
            json!({"type": "ack", "id": said["id"], "seq": seq, "paced": true})
        }
    };
    members[own].send(answer).unwrap();
}

#[tokio::test]
async fn a_busy_room_is_repaired_and_counted() {
    for (repairs, patience_s, lost) in [(true, 20, 0), (false, 2, 3)] {
        let load = Talk {
            rate: 100.0,
            time: Duration::from_millis(90),
            patience: Duration::from_secs(patience_s),
        };
        let log = Mutex::default();
        let serve = move |own, said: &Value, members: &[UnboundedSender<Value>]| {
            serve(repairs, own, said, &mut log.lock().unwrap(), members);
        };
        let address = chat(serve).await.unwrap();
        let mut members = Vec::new();
        for user in ["alice", "bob", "carol"] {
            members.push(address.join("lobby", user).await.unwrap());
        }
        let heard = crowd(members, "lobby", load).await.unwrap();
        assert_eq!((heard.due, heard.acked, heard.expected), (9, 9, 27));
        assert_eq!(heard.ack_us.len(), 9);
        assert_eq!(heard.lost, lost);
        assert_eq!(heard.delivery_us.len(), if repairs { 18 } else { 15 });
        assert_eq!(heard.repaired >= 3, repairs, "{heard:?}");
        assert!(heard.asked >= 1);
    }
}

#[test]
fn a_message_is_of_the_length_that_is_said() {
    for (round, number) in [("warm", 0), ("room-1000", 99_999)] {
        let frame: serde_json::Value = serde_json::from_str(&frame(round, number)).unwrap();
        assert_eq!(frame["data"].as_str().unwrap().len(), MESSAGE_BYTES);
        assert_eq!(frame["id"], format!("{round}-{number}"));
    }
}

#[test]
fn quantiles_are_of_the_samples() {
    let samples: Vec<u32> = (0..=100).map(|n| n * 1000).collect();
    assert_eq!(quantile_ms(&samples, 0.5), 50.0);
    assert_eq!(quantile_ms(&samples, 0.99), 99.0);
    assert_eq!(quantile_ms(&[], 0.5), 0.0);
}
