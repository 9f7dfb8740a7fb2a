//! Keeps web pages away from the ports that are for programs on this machine.
//!
//! A page in somebody's browser can reach a loopback port: directly, and its requests then carry an `Origin`, or by a name
//! of its own that resolves to 127.0.0.1 (DNS rebinding), and its requests then carry that name as the `Host`.

use axum::http::{HeaderMap, header};

/// Reports whether a request comes from a web page, or is for another host than this machine.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    let is_local = name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        // AWS's own names are for functions that build the API's address themselves. No page can make them resolve here.
        matches!(name.as_str(), "127.0.0.1" | "localhost") || name.ends_with(".amazonaws.com")
    });
    !is_local || hosts.next().is_some() || headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_programs_on_this_machine_are_local() {
        let check = |sent: &[(&'static str, &'static str)], expected: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_foreign(&headers), expected, "{sent:?}");
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:8000",
            "localhost:8000",
            "LocalHost:1",
            "local00000.execute-api.eu-west-1.amazonaws.com",
        ] {
            check(&[("host", host)], false);
            for origin in ["https://evil.example", "null", "http://127.0.0.1:8000", ""] {
                check(&[("host", host), ("origin", origin)], true);
            }
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8000",
            "amazonaws.com.evil.example",
            "evilamazonaws.com",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "127.0.0.1:8000:evil.example",
        ] {
            check(&[("host", host)], true);
        }
        check(&[], true);
        check(&[("host", "127.0.0.1"), ("host", "evil.example")], true);
    }
}
