use futures::FutureExt as _;
use serde_json::json;

use super::*;

fn faults(rules: &Value) -> Faults {
    Faults::new(Document::parse(rules.to_string().as_bytes()).unwrap(), 7)
}

/// A connection: its id and its handshake.
fn client(id: &'static str, query: &str) -> (&'static str, Handshake) {
    (id, Handshake::new(Some(query)))
}

fn at<'a>(site: Site, (id, handshake): &'a (&'static str, Handshake)) -> Point<'a> {
    Point::at(site).of(id, handshake)
}

/// Returns the occurrences that a rule takes among the first n.
fn taken(faults: &Faults, n: usize, point: &Point<'_>) -> Vec<usize> {
    (1..=n)
        .filter(|_| faults.decide(point).fault.is_some())
        .collect()
}

#[test]
fn without_rules_nothing_happens() {
    let faults = faults(&json!([]));
    let verdict = faults.decide(&Point::at(Site::Post));
    assert!(verdict.fault.is_none() && !verdict.waits());
    assert!(!faults.lagging());
}

#[test]
fn occurrences_are_counted_from_one() {
    let post = Point::at(Site::Post);
    for (which, expected) in [
        (json!({}), vec![1, 2, 3, 4, 5, 6, 7, 8]),
        (json!({"nth": 3}), vec![3]),
        (json!({"every": 3}), vec![3, 6]),
        (json!({"first": 2}), vec![1, 2]),
        (json!({"times": 3}), vec![1, 2, 3]),
        (json!({"every": 2, "times": 2}), vec![2, 4]),
        (json!({"every": 2, "first": 5}), vec![2, 4]),
        (json!({"probability": 1}), vec![1, 2, 3, 4, 5, 6, 7, 8]),
        (json!({"probability": 0}), vec![]),
    ] {
        let mut rule = which;
        rule["on"] = "post".into();
        rule["do"] = "drop".into();
        assert_eq!(taken(&faults(&rule), 8, &post), expected, "{rule}");
    }
}

#[test]
fn connections_and_invocations_can_count_on_their_own() {
    let per_connection =
        faults(&json!({"on": "message", "do": "drop", "nth": 2, "per": "connection"}));
    let (a, b) = (client("a", ""), client("b", ""));
    let count = |client| taken(&per_connection, 1, &at(Site::Message, client)).len();
    assert_eq!(
        [count(&a), count(&b), count(&b), count(&a), count(&a)],
        [0, 0, 1, 1, 0]
    );

    let per_invocation = faults(
        &json!({"on": "call", "do": "kill", "when": "after", "nth": 2, "per": "invocation"}),
    );
    let call = |invocation: Option<&Invocation>| {
        let point = Point {
            invocation,
            ..Point::at(Site::Call)
        };
        taken(&per_invocation, 1, &point).len()
    };
    // Outside an invocation there is nothing to count by.
    assert_eq!([call(None), call(None)], [0, 0]);
    for _ in 0..2 {
        let invocation = Invocation::new("x");
        let call = || call(Some(&invocation));
        assert_eq!([call(), call(), call()], [0, 1, 0]);
    }
}

#[test]
fn all_that_a_rule_names_must_match() {
    let lobby = client("a=", "room=lob%62y&room=second");
    let street = client("b=", "room=street");
    let table = ["messages"];
    let lookup = Point {
        operation: Some("Query"),
        tables: &table,
        index: Some("by-room"),
        function: Some(FunctionName {
            key: "publish",
            name: "chat-publish",
        }),
        ..Point::at(Site::Table)
    };
    let of = |client| Point {
        route: Some("publish"),
        ..at(Site::Message, client)
    };
    for (matcher, point, expected) in [
        (
            json!({"on": "message", "query": {"room": "lobby"}}),
            of(&lobby),
            true,
        ),
        (
            json!({"on": "message", "query": {"room": "second"}}),
            of(&lobby),
            true,
        ),
        (
            json!({"on": "message", "query": {"room": "lobby"}}),
            of(&street),
            false,
        ),
        (
            json!({"on": "message", "query": {"room": "lobby", "x": "1"}}),
            of(&lobby),
            false,
        ),
        (
            json!({"on": "message", "connection": "b="}),
            of(&street),
            true,
        ),
        (
            json!({"on": "message", "connection": "b="}),
            of(&lobby),
            false,
        ),
        (
            json!({"on": "message", "route": "publish"}),
            of(&lobby),
            true,
        ),
        (json!({"on": "message", "route": "join"}), of(&lobby), false),
        (
            json!({"on": "message", "function": "publish"}),
            of(&lobby),
            false,
        ),
        (json!({"on": "connect"}), of(&lobby), false),
        (json!({"on": "table", "function": "publish"}), lookup, true),
        (
            json!({"on": "table", "function": "chat-publish"}),
            lookup,
            true,
        ),
        (json!({"on": "table", "function": "chat"}), lookup, false),
        (
            json!({"on": "table", "table": "messages", "index": "by-room", "operation": "Query"}),
            lookup,
            true,
        ),
        (
            json!({"on": "table", "table": "connections"}),
            lookup,
            false,
        ),
        (json!({"on": "table", "index": "other"}), lookup, false),
        (json!({"on": "table", "operation": "Scan"}), lookup, false),
    ] {
        let mut rule = matcher;
        rule["do"] = "status".into();
        rule["status"] = 500.into();
        let matched = taken(&faults(&rule), 1, &point).len() == 1;
        assert_eq!(matched, expected, "{rule}");
    }
}

#[test]
fn delays_add_up_and_of_the_rest_the_first_rule_counts() {
    let faults = faults(&json!([
        {"name": "a", "on": "post", "do": "delay", "ms": 20},
        {"name": "b", "on": "post", "do": "drop", "nth": 2},
        {"name": "c", "on": "post", "do": "gone"},
        {"name": "d", "on": "post", "do": "delay", "ms": 3},
    ]));
    let decided = [(); 2].map(|()| {
        let verdict = faults.decide(&Point::at(Site::Post));
        (verdict.delay, verdict.fault)
    });
    let delay = Duration::from_millis(23);
    assert_eq!(
        decided,
        [(delay, Some(Fault::Gone)), (delay, Some(Fault::Drop))]
    );
    let counts: Vec<_> = faults.describe()["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (rule["matched"].clone(), rule["applied"].clone()))
        .collect();
    let count = |matched: u64, applied: u64| (json!(matched), json!(applied));
    assert_eq!(counts, [count(2, 2), count(2, 1), count(2, 1), count(2, 2)]);
}

#[test]
fn draws_depend_on_seed_name_and_number_alone() {
    let post = Point::at(Site::Post);
    let slow = json!({"name": "slow", "on": "post", "do": "delay", "ms": [0, 1_000_000], "probability": 0.5});
    let delays = |faults: &Faults| -> Vec<Duration> {
        (0..40).map(|_| faults.decide(&post).delay).collect()
    };
    let alone = delays(&faults(&json!([slow])));
    assert_eq!(alone, delays(&faults(&json!([slow]))));
    // Another rule that draws too, and occurrences elsewhere, change nothing.
    let crowded = faults(&json!([
        {"name": "other", "on": "post", "do": "drop", "probability": 0.5},
        slow,
        {"name": "elsewhere", "on": "get", "do": "gone", "probability": 0.5},
    ]));
    let beside: Vec<_> = (0..40)
        .map(|_| {
            let _ = crowded.decide(&Point::at(Site::Get));
            crowded.decide(&post).delay
        })
        .collect();
    assert_eq!(alone, beside);
    let mut renamed = slow.clone();
    renamed["name"] = "slower".into();
    assert_ne!(alone, delays(&faults(&json!([renamed]))));
    assert_ne!(alone, delays(&faults(&json!({"seed": 8, "rules": [slow]}))));
    let hit = alone.iter().filter(|delay| !delay.is_zero()).count();
    assert!(
        (8..32).contains(&hit),
        "{hit} of 40 at a probability of 0.5"
    );
}

#[tokio::test]
async fn one_is_held_back_until_the_next_are_through() {
    let faults =
        faults(&json!({"on": "message", "do": "reorder", "by": 2, "first": 1, "ms": 3_600_000}));
    let message = Point::at(Site::Message);
    let mut held = faults.decide(&message);
    let waiting = held.wait();
    tokio::pin!(waiting);
    assert_eq!(waiting.as_mut().now_or_never(), None);
    let mut passing = [(); 2].map(|()| faults.decide(&message));
    for verdict in &mut passing {
        assert_eq!(verdict.wait().now_or_never(), Some(()));
    }
    let [first, second] = passing;
    drop(second);
    assert_eq!(waiting.as_mut().now_or_never(), None);
    drop(first);
    waiting.await;
    // No occurrence is held back any more, so the next one does not wait.
    assert!(!faults.decide(&message).waits());
}

#[tokio::test]
async fn one_that_is_held_back_goes_when_its_rule_does() {
    let faults = faults(&json!({"on": "message", "do": "reorder", "ms": 3_600_000}));
    let mut held = faults.decide(&Point::at(Site::Message));
    faults.replace(Document::default());
    held.wait().await;
}

#[test]
fn of_each_connection_every_second_message_goes_by_the_first() {
    let faults = faults(&json!({"on": "message", "do": "reorder", "per": "connection"}));
    let (a, b) = (client("a", ""), client("b", ""));
    let mut kept = Vec::new();
    let mut waits = |client| {
        kept.push(faults.decide(&at(Site::Message, client)));
        kept.last().is_some_and(Verdict::waits)
    };
    let seen = [
        waits(&a),
        waits(&b),
        waits(&b),
        waits(&a),
        waits(&a),
        waits(&a),
    ];
    assert_eq!(seen, [true, true, false, false, true, false]);
}

#[test]
fn lag_is_asked_for_by_itself() {
    let faults = faults(&json!([
        {"name": "near", "on": "table", "do": "lag", "ms": 5, "table": "a"},
        {"name": "far", "on": "table", "do": "lag", "ms": [100, 200]},
        {"on": "table", "do": "throttle"},
    ]));
    assert!(faults.lagging());
    let lag = |table: &'static str| {
        let tables = [table];
        let point = Point {
            tables: &tables,
            ..Point::at(Site::Table)
        };
        (faults.lag(&point), faults.decide(&point).fault)
    };
    assert_eq!(
        lag("a"),
        (Some(Duration::from_millis(5)), Some(Fault::Throttle))
    );
    let (far, _) = lag("b");
    assert!((100..=200).contains(&far.unwrap().as_millis()));
    faults.remove("near");
    assert!(faults.lagging());
    faults.remove("far");
    assert!(!faults.lagging());
    assert_eq!(lag("a"), (None, Some(Fault::Throttle)));
}

#[test]
fn rules_come_and_go() {
    let faults = faults(
        &json!([{"name": "rule-2", "on": "get", "do": "gone"}, {"on": "get", "do": "gone"}]),
    );
    let document = |rules: Value| Document::parse(rules.to_string().as_bytes()).unwrap();
    let names = |faults: &Faults| -> Vec<String> {
        let described = faults.describe();
        let rules = described["rules"].as_array().unwrap();
        for rule in rules {
            assert_eq!(rule["name"], rule["rule"]["name"]);
        }
        rules
            .iter()
            .map(|rule| rule["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&faults), ["rule-2", "rule-1"]);
    let nameless = json!({"on": "get", "do": "gone"});
    assert_eq!(faults.add(document(nameless.clone())), Ok(()));
    assert_eq!(names(&faults), ["rule-2", "rule-1", "rule-3"]);
    let taken = json!([nameless, {"name": "rule-3", "on": "get", "do": "gone"}]);
    assert_eq!(
        faults.add(document(taken)),
        Err(ChangeError::Taken("rule-3".to_owned()))
    );
    assert_eq!(
        faults.add(document(json!({"seed": 1, "rules": []}))),
        Err(ChangeError::Seed)
    );
    assert_eq!(names(&faults).len(), 3);
    assert!(faults.remove("rule-1"));
    assert!(!faults.remove("rule-1"));
    assert_eq!(names(&faults), ["rule-2", "rule-3"]);
    faults.replace(document(json!({"seed": 9, "rules": [nameless]})));
    assert_eq!(
        (names(&faults), faults.seed()),
        (vec!["rule-1".to_owned()], 9)
    );
    faults.replace(Document::default());
    assert_eq!((faults.len(), faults.seed()), (0, 9));
    assert!(faults.decide(&Point::at(Site::Get)).fault.is_none());
}
