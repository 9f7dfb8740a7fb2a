use proptest::prelude::*;
use serde_json::json;

use super::*;

fn error(document: &Value) -> String {
    match Document::parse(document.to_string().as_bytes()) {
        Ok(_) => panic!("{document} was accepted"),
        Err(error) => format!("{error:#}"),
    }
}

fn one(rule: &Value) -> Rule {
    let mut document = Document::parse(rule.to_string().as_bytes()).unwrap();
    assert_eq!(document.rules.len(), 1);
    document.rules.remove(0)
}

#[test]
fn a_document_has_three_forms() {
    let rule = json!({"on": "post", "do": "drop"});
    for (document, seed, rules) in [
        (json!({"seed": 7, "rules": [rule, rule]}), Some(7), 2),
        (json!({"rules": []}), None, 0),
        (json!([rule]), None, 1),
        (json!([]), None, 0),
        (rule, None, 1),
    ] {
        let read = Document::parse(document.to_string().as_bytes()).unwrap();
        assert_eq!((read.seed, read.rules.len()), (seed, rules), "{document}");
    }
}

#[test]
fn a_rule_is_read_with_all_it_has() {
    let rule = one(&json!({
        "name": "slow", "on": "post", "connection": "c=", "query": {"room": "lobby"}, "function": "publish",
        "nth": 3, "every": 2, "first": 9, "probability": 0.5, "times": 4, "per": "invocation",
        "do": "delay", "ms": [10, 200],
    }));
    assert_eq!((rule.name.as_str(), rule.on), ("slow", Place::Post));
    assert_eq!(rule.act, Act::Delay(10..=200));
    assert_eq!(
        rule.which,
        Which {
            nth: Some(3),
            every: Some(2),
            first: Some(9),
            probability: Some(0.5),
            times: Some(4),
            per: Some(Per::Invocation),
        }
    );
    assert_eq!(rule.matcher.connection.as_deref(), Some("c="));
    assert_eq!(rule.matcher.function.as_deref(), Some("publish"));
    assert_eq!(rule.matcher.query["room"], "lobby");
}

#[test]
fn every_act_can_be_written_wherever_it_fits() {
    for on in Place::ALL {
        for act in acts(on) {
            let mut rule = json!({"on": on.name(), "do": act});
            for (key, value) in [
                ("ms", json!(5)),
                ("status", json!(503)),
                ("when", json!("after")),
            ] {
                if parameters(act, on).contains(&key) {
                    rule[key] = value;
                }
            }
            let read = one(&rule);
            assert_eq!((read.on, read.does()), (on, act), "{rule}");
        }
    }
}

#[test]
fn acts_read_their_parameters() {
    for (on, rest, act) in [
        ("post", json!({"do": "gone"}), Fault::Gone),
        (
            "post",
            json!({"do": "gone", "false": true}),
            Fault::FalseGone { deliver: false },
        ),
        (
            "post",
            json!({"do": "gone", "false": true, "deliver": true}),
            Fault::FalseGone { deliver: true },
        ),
        (
            "table",
            json!({"do": "status", "status": 500, "deliver": true}),
            Fault::Status {
                status: 500,
                deliver: true,
            },
        ),
        (
            "delete",
            json!({"do": "hang"}),
            Fault::Hang { deliver: false },
        ),
        (
            "message",
            json!({"do": "cut", "close": 1001, "deliver": true}),
            Fault::Cut {
                close: Some(1001),
                deliver: true,
            },
        ),
        (
            "frame",
            json!({"do": "cut"}),
            Fault::Cut {
                close: None,
                deliver: false,
            },
        ),
        (
            "call",
            json!({"do": "kill", "when": "before"}),
            Fault::Kill(When::Before),
        ),
    ] {
        let mut rule = rest;
        rule["on"] = on.into();
        assert_eq!(one(&rule).act, Act::Do(act), "{rule}");
    }
    let at_most = |ms| Act::Reorder {
        by: 2,
        at_most: Duration::from_millis(ms),
    };
    let rule = json!({"on": "message", "do": "reorder", "by": 2});
    assert_eq!(one(&rule).act, at_most(1000));
    let rule = json!({"on": "message", "do": "reorder", "by": 2, "ms": 50});
    assert_eq!(one(&rule).act, at_most(50));
}

#[test]
fn an_error_names_the_rule_the_key_and_what_would_do() {
    for (document, expected) in [
        (
            json!(7),
            "it is no array of rules, no rule, and no object with \"rules\"",
        ),
        (json!({"rules": 7}), "\"rules\" is no array"),
        (
            json!({"rules": [], "sed": 1}),
            "the key \"sed\" is unknown beside \"rules\": only \"seed\" can be there",
        ),
        (
            json!({"rules": [], "seed": -1}),
            "\"seed\" is no whole number from 0 to 18446744073709551615",
        ),
        (json!([7]), "rule 1 is no object"),
        (
            json!([{"on": "post", "do": "drop"}, {"name": "a b"}]),
            "rule 2: \"name\" must be 1 to 64 letters, digits, or any of . _ -",
        ),
        (
            json!([{"name": "x", "on": "post", "do": "drop"}, {"name": "x", "on": "get", "do": "gone"}]),
            "two rules are called \"x\"",
        ),
        (
            json!({"name": "x"}),
            "rule \"x\": \"on\" is missing: it is one of connect, message, disconnect, frame, post, get, delete, table, call",
        ),
        (
            json!({"on": "posts", "do": "drop"}),
            "rule 1: \"on\": \"posts\" is none of connect, message, disconnect, frame, post, get, delete, table, call",
        ),
        (
            json!({"on": "call"}),
            "rule 1: \"do\" is missing: on \"call\" it is one of delay, hang, kill",
        ),
        (
            json!({"on": "disconnect", "do": "drop"}),
            "rule 1: \"do\": \"drop\" is nothing that can be done on \"disconnect\": there it is one of delay, reorder, duplicate, lose",
        ),
        (
            json!({"on": "frame", "do": "drop", "nht": 1}),
            "rule 1: the key \"nht\" has no meaning for \"drop\" on \"frame\": there are name, on, do, nth, every, first, probability, times, per, route, connection, query",
        ),
        (
            json!({"on": "get", "do": "status", "status": 500, "deliver": true}),
            "rule 1: the key \"deliver\" has no meaning for \"status\" on \"get\": there are name, on, do, nth, every, first, probability, times, per, connection, query, function, status",
        ),
        (
            json!({"on": "table", "do": "lag", "ms": 5, "index": "room-index"}),
            "rule 1: the key \"index\" has no meaning for \"lag\" on \"table\": there are name, on, do, nth, every, first, probability, times, per, function, table, operation, ms",
        ),
        (
            json!({"on": "frame", "do": "drop", "nth": 0}),
            "rule 1: \"nth\" is no whole number from 1",
        ),
        (
            json!({"on": "frame", "do": "drop", "probability": 1.5}),
            "rule 1: \"probability\" is no number from 0 to 1",
        ),
        (
            json!({"on": "frame", "do": "drop", "per": "invocation"}),
            "rule 1: \"per\": \"invocation\" has no meaning on \"frame\": only what a function calls has one",
        ),
        (
            json!({"on": "table", "do": "throttle", "per": "connection"}),
            "rule 1: \"per\": \"connection\" has no meaning on \"table\"",
        ),
        (
            json!({"on": "frame", "do": "drop", "query": {"a": 1}}),
            "rule 1: \"query\" is no object whose values are strings",
        ),
        (
            json!({"on": "frame", "do": "drop", "connection": 1}),
            "rule 1: \"connection\" is no string",
        ),
        (
            json!({"on": "get", "do": "delay"}),
            "rule 1: \"ms\" is missing: milliseconds, or [from, to]",
        ),
        (
            json!({"on": "get", "do": "delay", "ms": [3, 2]}),
            "rule 1: \"ms\": [3, 2] is empty: the smaller number comes first",
        ),
        (
            json!({"on": "get", "do": "delay", "ms": [3]}),
            "rule 1: \"ms\" has 1 numbers: as an array it is [from, to]",
        ),
        (
            json!({"on": "get", "do": "delay", "ms": -3}),
            "rule 1: \"ms\": -3 is no whole number from 0 to 3600000",
        ),
        (
            json!({"on": "get", "do": "status", "status": 418}),
            "rule 1: \"status\" must be one of [429, 500, 502, 503, 504]",
        ),
        (
            json!({"on": "frame", "do": "cut", "close": 1006}),
            "rule 1: \"close\" is no code that can be sent: 1000 to 1003, 1007 to 1014 or 3000 to 4999; without it there is no close frame",
        ),
        (
            json!({"on": "call", "do": "kill"}),
            "rule 1: \"when\" is missing: it is \"before\" or \"after\"",
        ),
        (
            json!({"on": "post", "do": "gone", "deliver": true}),
            "rule 1: \"deliver\" wants \"false\": true: no message reaches a connection that is gone",
        ),
        (
            json!({"on": "get", "do": "gone", "false": 1}),
            "rule 1: \"false\" is neither true nor false",
        ),
    ] {
        assert_eq!(error(&document), expected);
    }
    assert!(Document::parse(b"{").is_err());
    let many = vec![json!({"on": "get", "do": "gone"}); 1001];
    assert_eq!(
        error(&json!(many)),
        "there are 1001 rules, and 1000 is the most"
    );
}

/// JSON in which the language's own words turn up.
fn json_of_words() -> impl Strategy<Value = Value> {
    let words = COMMON
        .into_iter()
        .chain(Place::ALL.into_iter().flat_map(matchers))
        .chain(Place::ALL.into_iter().flat_map(acts))
        .chain(Place::ALL.map(Place::name))
        .chain([
            "rules",
            "seed",
            "ms",
            "by",
            "false",
            "deliver",
            "status",
            "close",
            "when",
            "before",
            "connection",
        ])
        .collect::<Vec<&str>>();
    let word = prop_oneof![
        8 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..20_u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(word.clone(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A rule that is nearly right.
fn nearly_a_rule() -> impl Strategy<Value = Value> {
    let places = proptest::sample::select(Place::ALL.to_vec());
    let place_and_act = places.prop_flat_map(|on| {
        let act = proptest::sample::select(acts(on).collect::<Vec<_>>());
        (Just(on), act)
    });
    (place_and_act, json_of_words()).prop_map(|((on, act), more)| {
        let mut rule = json!({"on": on.name(), "do": act, "ms": 1, "status": 500, "when": "after"});
        if let (Some(rule), Value::Object(more)) = (rule.as_object_mut(), more) {
            rule.extend(more);
            rule.retain(|key, _| {
                COMMON.contains(&key.as_str())
                    || matchers(on).any(|known| known == key)
                    || parameters(act, on).contains(&key.as_str())
            });
        }
        rule
    })
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(&bytes);
    }

    #[test]
    fn whatever_json_comes_is_read_or_refused_in_one_sentence(document in json_of_words()) {
        if let Err(error) = Document::parse(document.to_string().as_bytes()) {
            let sentence = format!("{error:#}");
            prop_assert!(!sentence.contains('\n'));
        }
    }

    #[test]
    fn a_rule_that_is_read_is_what_was_written(rule in nearly_a_rule()) {
        if let Ok(document) = Document::parse(rule.to_string().as_bytes()) {
            let read = &document.rules[0];
            prop_assert_eq!(&rule["on"], read.on.name());
            prop_assert_eq!(&rule["do"], read.does());
        }
    }
}
