//! The address that API Gateway gives an API, as it stands in the environment of functions.

use std::sync::LazyLock;

use regex_lite::Regex;

/// The host of an API declared here, in every Region and partition. All ids of APIs begin with `local` here.
static HOST: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\blocal[0-9]{5}\.execute-api\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|api\.aws)(?::[0-9]+)?").ok()
});

/// The text with the gateway's own address wherever it names the host of an API declared here. The scheme and the path
/// stay: the gateway's port speaks HTTP and HTTPS.
pub(crate) fn localized(text: &str, address: &str) -> String {
    match &*HOST {
        Some(host) => host.replace_all(text, address).into_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_here() {
        for (text, expected) in [
            (
                "wss://local00000.execute-api.us-east-1.amazonaws.com/prod",
                "wss://127.0.0.1:3000/prod",
            ),
            (
                "https://local00000.execute-api.eu-west-2.amazonaws.com/a b",
                "https://127.0.0.1:3000/a b",
            ),
            (
                "local00000.execute-api.cn-north-1.amazonaws.com.cn",
                "127.0.0.1:3000",
            ),
            (
                "LOCAL00000.Execute-Api.us-east-1.amazonaws.com:443/prod/",
                "127.0.0.1:3000/prod/",
            ),
            ("local12345.execute-api.us-east-1.api.aws", "127.0.0.1:3000"),
            (
                "{\"a\":\"https://local00000.execute-api.us-east-1.amazonaws.com\",\"b\":\"local00001.execute-api.x.amazonaws.com\"}",
                "{\"a\":\"https://127.0.0.1:3000\",\"b\":\"127.0.0.1:3000\"}",
            ),
            // The API of somebody else, an ARN and an id alone stay.
            (
                "https://abc1234567.execute-api.us-east-1.amazonaws.com",
                "https://abc1234567.execute-api.us-east-1.amazonaws.com",
            ),
            (
                "arn:aws:execute-api:us-east-1:0:local00000",
                "arn:aws:execute-api:us-east-1:0:local00000",
            ),
            ("local00000", "local00000"),
        ] {
            assert_eq!(localized(text, "127.0.0.1:3000"), expected);
        }
    }
}
