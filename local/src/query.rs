//! Query strings, decoded as API Gateway decodes them.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// Returns the values of each parameter, in order. Percent escapes are decoded once, `+` stays `+`, and a name without
/// `=` has the value "".
pub(crate) fn parse(query: &str) -> BTreeMap<String, Vec<String>> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters
            .entry(decode(name))
            .or_default()
            .push(decode(value));
    }
    parameters
}
