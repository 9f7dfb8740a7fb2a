//! The rule language: strict JSON. An unknown key is an error that names the rule and the key.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::act::{self, Act, Declaration};
use super::fields::{Fields, list};
use super::rule::{Matcher, Per, Rule, Which};
use super::site::Site;

/// The most rules of a document.
const MAX_RULES: usize = 1000;
const MAX_NAME_BYTES: usize = 64;

/// The keys that every rule may have.
const COMMON: [&str; 9] = [
    "name",
    "on",
    "do",
    "nth",
    "every",
    "first",
    "probability",
    "times",
    "per",
];

/// A document of rules.
#[derive(Debug, Default, PartialEq)]
pub struct Document {
    /// The seed that rules draw from.
    pub seed: Option<u64>,
    pub(super) rules: Vec<Rule>,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is not a document of rules.
    pub fn load(path: &Path) -> Result<Document> {
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("cannot read {name} (--faults)"))?;
        Document::parse(&text).with_context(|| format!("{name} (--faults)"))
    }

    /// Reads `{"seed": 7, "rules": […]}`, an array of rules, or one rule.
    ///
    /// # Errors
    /// Fails if the JSON is none of these, or a rule is invalid.
    pub fn parse(json: &[u8]) -> Result<Document> {
        let document: Value = serde_json::from_slice(json).context("not valid JSON")?;
        let (seed, rules) = match document {
            Value::Array(rules) => (None, rules),
            Value::Object(mut document) if document.contains_key("rules") => {
                let rules = document.remove("rules");
                let seed = document.remove("seed").map(|seed| {
                    seed.as_u64()
                        .context("\"seed\" must be a whole number from 0 to 18446744073709551615")
                });
                if let Some(key) = document.keys().next() {
                    bail!(
                        "unknown key \"{key}\": an object with \"rules\" can only have \"seed\" besides"
                    );
                }
                let Some(Value::Array(rules)) = rules else {
                    bail!("\"rules\" must be an array");
                };
                (seed.transpose()?, rules)
            }
            rule @ Value::Object(_) => (None, vec![rule]),
            _ => bail!("expected a rule, an array of rules, or an object with \"rules\""),
        };
        if rules.len() > MAX_RULES {
            bail!("{} rules: at most {MAX_RULES} are allowed", rules.len());
        }
        let mut names = BTreeSet::new();
        let mut parsed = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            let rule = read_rule(rule, index + 1)?;
            if !rule.name.is_empty() && !names.insert(rule.name.clone()) {
                bail!("two rules have the name \"{}\"", rule.name);
            }
            parsed.push(rule);
        }
        Ok(Document {
            seed,
            rules: parsed,
        })
    }
}

fn read_rule(source: Value, number: usize) -> Result<Rule> {
    let Value::Object(map) = &source else {
        bail!("rule {number} must be an object");
    };
    let name = match map.get("name") {
        None => String::new(),
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(_) => bail!(
            "rule {number}: \"name\" must be 1 to {MAX_NAME_BYTES} letters, digits, or any of . _ -"
        ),
    };
    let who = if name.is_empty() {
        format!("rule {number}")
    } else {
        format!("rule \"{name}\"")
    };
    let read = || -> Result<(Site, Matcher, Which, &Declaration, Act)> {
        let fields = Fields(map);
        let sites = Site::ALL.map(Site::name);
        let site = fields
            .one_of("on", &sites)?
            .with_context(|| format!("\"on\" is missing: expected one of {}", list(&sites)))?;
        let site = Site::ALL[site];
        let possible = || {
            list(
                &act::possible_at(site)
                    .map(|act| act.name)
                    .collect::<Vec<_>>(),
            )
        };
        let name = fields.text("do")?.with_context(|| {
            format!(
                "\"do\" is missing: on \"{}\" expected one of {}",
                site.name(),
                possible()
            )
        })?;
        let act = act::possible_at(site)
            .find(|act| act.name == name)
            .with_context(|| {
                format!(
                    "\"do\": \"{}\" is not possible on \"{}\": expected one of {}",
                    name.escape_debug(),
                    site.name(),
                    possible()
                )
            })?;
        let known: Vec<&str> = COMMON
            .into_iter()
            // A write lags, and a write names no index.
            .chain(matchers(site).filter(|key| act.name != "lag" || *key != "index"))
            .chain(act.parameters(site))
            .collect();
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            bail!(
                "the key \"{}\" has no meaning for \"{}\" on \"{}\": expected one of {}",
                key.escape_debug(),
                act.name,
                site.name(),
                list(&known)
            );
        }
        Ok((
            site,
            matcher(&fields)?,
            which(&fields, site)?,
            act,
            (act.read)(&fields)?,
        ))
    };
    let (on, matcher, which, declared, act) = read().with_context(|| who)?;
    Ok(Rule {
        name,
        on,
        matcher,
        which,
        does: declared.name,
        act,
        source,
    })
}

/// Reports whether a name can be part of a URL and of a line of the log.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Returns the matchers that have a meaning at a site.
fn matchers(on: Site) -> impl Iterator<Item = &'static str> {
    let matchers: &[&str] = match on {
        Site::Connect | Site::Message | Site::Disconnect => {
            &["route", "connection", "query", "function"]
        }
        Site::Frame => &["route", "connection", "query"],
        Site::Post | Site::Get | Site::Delete => &["connection", "query", "function"],
        Site::Table => &["function", "table", "index", "operation"],
        Site::Call => &[
            "function",
            "connection",
            "query",
            "table",
            "index",
            "operation",
        ],
    };
    matchers.iter().copied()
}

fn matcher(fields: &Fields<'_>) -> Result<Matcher> {
    Ok(Matcher {
        route: fields.text("route")?,
        connection: fields.text("connection")?,
        query: fields.texts("query")?,
        function: fields.text("function")?,
        table: fields.text("table")?,
        index: fields.text("index")?,
        operation: fields.text("operation")?,
    })
}

fn which(fields: &Fields<'_>, on: Site) -> Result<Which> {
    let probability = match fields.0.get("probability") {
        None => None,
        Some(value) => Some(
            value
                .as_f64()
                .filter(|p| (0.0..=1.0).contains(p))
                .context("\"probability\" must be a number from 0 to 1")?,
        ),
    };
    let per = fields.one_of("per", &["connection", "invocation"])?;
    let per = match (per, on) {
        (None, _) => None,
        (
            Some(0),
            Site::Connect
            | Site::Message
            | Site::Disconnect
            | Site::Frame
            | Site::Post
            | Site::Get
            | Site::Delete,
        ) => Some(Per::Connection),
        (Some(1), Site::Post | Site::Get | Site::Delete | Site::Table | Site::Call) => {
            Some(Per::Invocation)
        }
        (Some(0), _) => bail!(
            "\"per\": \"connection\" has no meaning on \"{}\"",
            on.name()
        ),
        (Some(_), _) => bail!(
            "\"per\": \"invocation\" has no meaning on \"{}\": only a function's calls belong to an invocation",
            on.name()
        ),
    };
    Ok(Which {
        nth: fields.count("nth")?,
        every: fields.count("every")?,
        first: fields.count("first")?,
        probability,
        times: fields.count("times")?,
        per,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use std::time::Duration;

    use super::act::{Fault, When};
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
        assert_eq!((rule.name.as_str(), rule.on), ("slow", Site::Post));
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
        for on in Site::ALL {
            for act in act::possible_at(on) {
                let mut rule = json!({"on": on.name(), "do": act.name});
                for (key, value) in [
                    ("ms", json!(5)),
                    ("status", json!(503)),
                    ("when", json!("after")),
                ] {
                    if act.parameters(on).any(|known| known == key) {
                        rule[key] = value;
                    }
                }
                let read = one(&rule);
                assert_eq!((read.on, read.does), (on, act.name), "{rule}");
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
                "expected a rule, an array of rules, or an object with \"rules\"",
            ),
            (json!({"rules": 7}), "\"rules\" must be an array"),
            (
                json!({"rules": [], "sed": 1}),
                "unknown key \"sed\": an object with \"rules\" can only have \"seed\" besides",
            ),
            (
                json!({"rules": [], "seed": -1}),
                "\"seed\" must be a whole number from 0 to 18446744073709551615",
            ),
            (json!([7]), "rule 1 must be an object"),
            (
                json!([{"on": "post", "do": "drop"}, {"name": "a b"}]),
                "rule 2: \"name\" must be 1 to 64 letters, digits, or any of . _ -",
            ),
            (
                json!([{"name": "x", "on": "post", "do": "drop"}, {"name": "x", "on": "get", "do": "gone"}]),
                "two rules have the name \"x\"",
            ),
            (
                json!({"name": "x"}),
                "rule \"x\": \"on\" is missing: expected one of connect, message, disconnect, frame, post, get, delete, table, call",
            ),
            (
                json!({"on": "posts", "do": "drop"}),
                "rule 1: \"on\": \"posts\" is not one of connect, message, disconnect, frame, post, get, delete, table, call",
            ),
            (
                json!({"on": "call"}),
                "rule 1: \"do\" is missing: on \"call\" expected one of delay, hang, kill",
            ),
            (
                json!({"on": "disconnect", "do": "drop"}),
                "rule 1: \"do\": \"drop\" is not possible on \"disconnect\": expected one of delay, reorder, duplicate, lose",
            ),
            (
                json!({"on": "frame", "do": "drop", "nht": 1}),
                "rule 1: the key \"nht\" has no meaning for \"drop\" on \"frame\": expected one of name, on, do, nth, every, first, probability, times, per, route, connection, query",
            ),
            (
                json!({"on": "get", "do": "status", "status": 500, "deliver": true}),
                "rule 1: the key \"deliver\" has no meaning for \"status\" on \"get\": expected one of name, on, do, nth, every, first, probability, times, per, connection, query, function, status",
            ),
            (
                json!({"on": "table", "do": "lag", "ms": 5, "index": "room-index"}),
                "rule 1: the key \"index\" has no meaning for \"lag\" on \"table\": expected one of name, on, do, nth, every, first, probability, times, per, function, table, operation, ms",
            ),
            (
                json!({"on": "frame", "do": "drop", "nth": 0}),
                "rule 1: \"nth\" must be a whole number from 1",
            ),
            (
                json!({"on": "frame", "do": "drop", "probability": 1.5}),
                "rule 1: \"probability\" must be a number from 0 to 1",
            ),
            (
                json!({"on": "frame", "do": "drop", "per": "invocation"}),
                "rule 1: \"per\": \"invocation\" has no meaning on \"frame\": only a function's calls belong to an invocation",
            ),
            (
                json!({"on": "table", "do": "throttle", "per": "connection"}),
                "rule 1: \"per\": \"connection\" has no meaning on \"table\"",
            ),
            (
                json!({"on": "frame", "do": "drop", "query": {"a": 1}}),
                "rule 1: \"query\" must be an object whose values are strings",
            ),
            (
                json!({"on": "frame", "do": "drop", "connection": 1}),
                "rule 1: \"connection\" must be a string",
            ),
            (
                json!({"on": "get", "do": "delay"}),
                "rule 1: \"ms\" is missing: milliseconds, or [from, to]",
            ),
            (
                json!({"on": "get", "do": "delay", "ms": [3, 2]}),
                "rule 1: \"ms\": [3, 2] must begin with the smaller number",
            ),
            (
                json!({"on": "get", "do": "delay", "ms": [3]}),
                "rule 1: \"ms\" has 1 numbers: expected [from, to]",
            ),
            (
                json!({"on": "get", "do": "delay", "ms": -3}),
                "rule 1: \"ms\": -3 is not a whole number from 0 to 3600000",
            ),
            (
                json!({"on": "get", "do": "status", "status": 418}),
                "rule 1: \"status\" must be one of [429, 500, 502, 503, 504]",
            ),
            (
                json!({"on": "frame", "do": "cut", "close": 1006}),
                "rule 1: \"close\" must be a code that an endpoint may send (1000 to 1003, 1007 to 1014, 3000 to 4999); without \"close\" there is no close frame",
            ),
            (
                json!({"on": "call", "do": "kill"}),
                "rule 1: \"when\" is missing: expected \"before\" or \"after\"",
            ),
            (
                json!({"on": "post", "do": "gone", "deliver": true}),
                "rule 1: \"deliver\" needs \"false\": true, because no message reaches a connection that is gone",
            ),
            (
                json!({"on": "get", "do": "gone", "false": 1}),
                "rule 1: \"false\" must be true or false",
            ),
        ] {
            assert_eq!(error(&document), expected);
        }
        assert!(Document::parse(b"{").is_err());
        let many = vec![json!({"on": "get", "do": "gone"}); 1001];
        assert_eq!(error(&json!(many)), "1001 rules: at most 1000 are allowed");
    }

    /// JSON in which the language's own words turn up.
    fn json_of_words() -> impl Strategy<Value = Value> {
        let words = COMMON
            .into_iter()
            .chain(Site::ALL.into_iter().flat_map(matchers))
            .chain(
                Site::ALL
                    .into_iter()
                    .flat_map(act::possible_at)
                    .map(|act| act.name),
            )
            .chain(Site::ALL.map(Site::name))
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
        let sites = proptest::sample::select(Site::ALL.to_vec());
        let site_and_act = sites.prop_flat_map(|on| {
            let act = proptest::sample::select(act::possible_at(on).collect::<Vec<_>>());
            (Just(on), act)
        });
        (site_and_act, json_of_words()).prop_map(|((on, act), more)| {
            let mut rule =
                json!({"on": on.name(), "do": act.name, "ms": 1, "status": 500, "when": "after"});
            if let (Some(rule), Value::Object(more)) = (rule.as_object_mut(), more) {
                rule.extend(more);
                rule.retain(|key, _| {
                    COMMON.contains(&key.as_str())
                        || matchers(on).any(|known| known == key)
                        || act.parameters(on).any(|known| known == key)
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
                prop_assert_eq!(&rule["do"], read.does);
            }
        }
    }
}
