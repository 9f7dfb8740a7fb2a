//! The ids that API Gateway gives.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// Makes a connection, request or message id: 11 random bytes in padded base64url, 16 characters that end in `=`.
pub(crate) fn generate() -> String {
    URL_SAFE.encode(rand::random::<[u8; 11]>())
}

/// Reports whether a text has the form of a connection id. A call for any other text is a bad request.
pub(crate) fn is_well_formed(id: &str) -> bool {
    id.strip_suffix('=').is_some_and(|body| {
        body.len() == 15
            && body
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    })
}

/// Makes an `X-Amzn-Trace-Id` root: `1-<8 hex digits of the time>-<24 random hex digits>`.
pub(crate) fn trace_root() -> String {
    let seconds = chrono::Utc::now().timestamp();
    let random = rand::random::<u128>() >> 32;
    format!("Root=1-{seconds:08x}-{random:024x}")
}

/// Makes the `X-Amzn-Trace-Id` of an invocation, as Lambda does.
pub(crate) fn trace(sampled: bool) -> String {
    format!(
        "{};Parent={:016x};Sampled={}",
        trace_root(),
        rand::random::<u64>(),
        u8::from(sampled)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_well_formed() {
        for _ in 0..1000 {
            let id = generate();
            assert!(is_well_formed(&id), "{id}");
        }
        for id in [
            "",
            "=",
            "abc=",
            "YkOibd6goAMCLjg",
            "YkOibd6goAMCLjg==",
            "YkOibd6goAMCLj%=",
            "YkOibd6goAMCLjgé=",
        ] {
            assert!(!is_well_formed(id), "{id}");
        }
    }
}
