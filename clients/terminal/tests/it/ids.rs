//! Compares the client's rule for ids with the service's.

use chat::protocol::Frame;
use proptest::prelude::*;
use roomchat::command;
use serde_json::{Value, json};

/// Ids around each rule, and any others.
fn id() -> impl Strategy<Value = Value> {
    prop_oneof![
        proptest::sample::select(vec![json!(null), json!(7), json!(["a"]), json!("")]),
        "(undefined|null|NaN|None|Null|nan)x?".prop_map(Value::from),
        "[aé😀]{62,67}".prop_map(Value::from),
        "a?[\u{fdcf}-\u{fdf0}\u{fffd}-\u{10000}\u{1fffd}-\u{20000}]".prop_map(Value::from),
        ".{0,70}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A stricter client would refuse ids that work, a laxer one would get errors without an id.
    #[test]
    fn the_client_accepts_the_ids_that_the_service_accepts(id in id()) {
        let line = json!({"action": "publish", "id": id, "data": 1}).to_string();
        let service = Frame::parse(&line).and_then(|frame| frame.id());
        prop_assert_eq!(command::written(line.as_bytes()).is_ok(), service.is_ok(), "{}", line);
    }
}
