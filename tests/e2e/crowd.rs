//! A thousand clients, of which half disappear.

use serde_json::json;

use kit::{Client, Gateway, eventually};

const CLIENTS: usize = 1000;
const ROOMS: usize = 10;

/// The test and the gateway each hold a thousand sockets, and some systems allow no more than that.
fn raise_file_limit() {
    let wanted = format!("--nofile={}:", CLIENTS * 4);
    let pid = std::process::id().to_string();
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &wanted])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn the_dead_are_told_of_and_the_living_go_on() {
    raise_file_limit();
    let gateway = Gateway::start(&["--admin-port", "0"]);
    let rows_of = |room: &str| {
        let rows = gateway.rows();
        rows.iter().filter(|row| row["room"]["S"] == room).count()
    };
    // Each room has equal numbers of clients whose connection is reset, and of clients that fall silent; the others
    // stay.
    let mut reset = Vec::new();
    let mut silent = Vec::new();
    let mut living: Vec<(usize, Client)> = Vec::new();
    std::thread::scope(|scope| {
        let joining: Vec<_> = (0..8)
            .map(|worker| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let own = (0..CLIENTS).filter(move |n| n % 8 == worker);
                    let join = |n: usize| {
                        (
                            n,
                            gateway.join(&format!("room-{}", n % ROOMS), &format!("user-{n}")),
                        )
                    };
                    own.map(join).collect::<Vec<_>>()
                })
            })
            .collect();
        for (n, client) in joining.into_iter().flat_map(|join| join.join().unwrap()) {
            match n / ROOMS % 4 {
                0 => reset.push(client),
                1 => silent.push(client),
                _ => living.push((n, client)),
            }
        }
    });
    living.sort_by_key(|(n, _)| *n);
    assert_eq!((reset.len(), silent.len(), living.len()), (250, 250, 500));
    assert_eq!(gateway.rows().len(), CLIENTS);

    // Every client gets a message. Those that close without reading it reset their connection.
    let publish = |living: &mut Vec<(usize, Client)>, in_room: usize| {
        for room in 0..ROOMS {
            let (_, client) = living.iter_mut().find(|(n, _)| n % ROOMS == room).unwrap();
            let ack = client.publish(&json!({"to": room}));
            assert_eq!(
                (&ack["delivered"], &ack["gone"]),
                (&json!(in_room - 1), &json!(0)),
                "{ack}"
            );
        }
        let speakers = ROOMS;
        for (n, client) in living.iter_mut().skip(speakers) {
            assert_eq!(client.receive()["data"], json!({"to": *n % ROOMS}), "{n}");
        }
    };
    publish(&mut living, CLIENTS / ROOMS);
    for client in &reset {
        eventually("the message has arrived", || {
            let mut byte = [0];
            (client.socket.get_ref().peek(&mut byte).unwrap() == 1).then_some(())
        });
    }
    drop(reset);
    let ended = |code: u16| {
        let wanted = format!("close code={code} ");
        let output = gateway.output();
        output.iter().filter(|line| line.contains(&wanted)).count()
    };
    eventually("the resets are noticed", || {
        (ended(1006) == 250).then_some(())
    });
    eventually("their rows are deleted", || {
        (gateway.rows().len() == 750).then_some(())
    });

    // The silent clients are found by the idle timeout alone.
    gateway.at_rest();
    gateway.pass(500);
    for (_, client) in &mut living {
        client.has_received_all();
    }
    gateway.at_rest();
    gateway.pass(101);
    eventually("the silent are given up", || {
        (ended(1001) == 250).then_some(())
    });
    eventually("their rows are deleted", || {
        (gateway.rows().len() == 500).then_some(())
    });
    for room in 0..ROOMS {
        assert_eq!(rows_of(&format!("room-{room}")), 50);
    }
    publish(&mut living, 50);
    for (_, client) in &mut living {
        client.has_received_all();
    }
    assert_eq!((ended(1006), ended(1001)), (250, 250));
    assert!(silent.iter_mut().all(|client| client.closed().is_some()));
    // Closing five hundred more clients would prove nothing.
    gateway.end_at_once();
}
