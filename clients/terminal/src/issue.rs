//! `roomchat token`: issues tokens, and makes the keys to sign them with.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use clap::{Args, ValueEnum};
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

/// The shortest secret that the service accepts, in bytes.
const MIN_SECRET: usize = 32;

/// Prints a token for a user, signed with your own secret or key
#[derive(Debug, Args)]
pub struct TokenOptions {
    /// Signs with the secret in this file (HS256), which is the service's `auth_secret`
    #[arg(long, value_name = "FILE", required_unless_present_any = ["key_file", "new_key"], conflicts_with_all = ["key_file", "new_key"])]
    secret_file: Option<PathBuf>,
    /// Signs with the private key in this file (ES256), as `--new-key` makes it
    #[arg(long, value_name = "FILE", conflicts_with = "new_key")]
    key_file: Option<PathBuf>,
    /// Makes a new key instead: DIR/key.pem to sign with, and DIR/jwks.json for the service's `auth.jwks`
    #[arg(long, value_name = "DIR")]
    new_key: Option<PathBuf>,
    /// The user: the claim `sub`
    #[arg(long, required_unless_present = "new_key")]
    user: Option<String>,
    /// The name shown to people: the claim `name`
    #[arg(long)]
    name: Option<String>,
    /// Rights in rooms, as PATTERN=RIGHT,…; may be given several times. Without it the service's `default_rooms` count
    #[arg(long = "room", value_name = "PATTERN=RIGHTS", value_parser = grant)]
    rooms: Vec<Grant>,
    /// The time for which the token is valid: a number and s, m, h or d
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration)]
    life: Duration,
    /// The claim `iss`, which must be the service's `auth.issuer`
    #[arg(long, default_value = "roomchat")]
    issuer: String,
    /// The claim `aud`, which must be in the service's `auth.audience`
    #[arg(long, default_value = "roomchat")]
    audience: String,
}

/// A right in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Right {
    Join,
    History,
    Publish,
    Moderate,
}

type Grant = (String, Vec<Right>);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<BTreeMap<&'a str, &'a [Right]>>,
}

/// Reads `team-*=join,publish`. No rights at all forbid the room.
fn grant(text: &str) -> Result<Grant, String> {
    let (pattern, rights) = text
        .rsplit_once('=')
        .filter(|(pattern, _)| !pattern.is_empty())
        .ok_or("expected PATTERN=RIGHTS, for instance team-*=join,publish")?;
    let rights = rights.split(',').filter(|right| !right.is_empty());
    let rights = rights.map(|right| {
        Right::from_str(right, false).map_err(|_| {
            format!("{right} is not a right; the rights are join, history, publish and moderate")
        })
    });
    Ok((pattern.to_owned(), rights.collect::<Result<_, _>>()?))
}

/// Reads `90s`, `5m`, `1h` or `7d`.
///
/// # Errors
///
/// Fails for any other text, for no time at all, and for more than a hundred years.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        _ => None,
    };
    let mut digits = text.chars();
    let seconds = digits
        .next_back()
        .and_then(unit)
        .zip(digits.as_str().parse::<u64>().ok())
        .and_then(|(unit, number)| number.checked_mul(unit))
        // A time that a clock can still show.
        .filter(|seconds| (1..=100 * 366 * 24 * 60 * 60).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        "expected a number and s, m, h or d, from 1s to 36600d, for instance 90s or 1h".to_owned()
    })
}

/// Carries `roomchat token` out, and returns the text to print.
///
/// # Errors
///
/// Fails if a file cannot be read or written, or does not hold a key that the service accepts.
pub fn run(options: &TokenOptions) -> Result<String> {
    if let Some(folder) = &options.new_key {
        return new_key(folder);
    }
    let Some(user) = &options.user else {
        bail!("--user is missing");
    };
    let (header, key) = signing_key(options)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let rooms = options.rooms.iter();
    let rooms: BTreeMap<_, _> = rooms.map(|(room, rights)| (&**room, &**rights)).collect();
    let claims = Claims {
        iss: &options.issuer,
        aud: &options.audience,
        sub: user,
        name: options.name.as_deref(),
        iat: now,
        exp: now + options.life.as_secs(),
        rooms: Some(rooms).filter(|rooms| !rooms.is_empty()),
    };
    encode(&header, &claims, &key).context("cannot sign the token")
}

fn signing_key(options: &TokenOptions) -> Result<(Header, EncodingKey)> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    if let Some(path) = &options.secret_file {
        let text = read(path)?;
        let secret = text.trim_end_matches(['\r', '\n']);
        ensure!(
            secret.len() >= MIN_SECRET,
            "the secret in {} has {} bytes; it must have at least {MIN_SECRET}",
            path.display(),
            secret.len()
        );
        let key = EncodingKey::from_secret(secret.as_bytes());
        return Ok((Header::new(Algorithm::HS256), key));
    }
    let Some(path) = &options.key_file else {
        bail!("--secret-file or --key-file is missing");
    };
    let wrong = || {
        format!(
            "{} is not a private key of the curve P-256 in PEM; --new-key makes one",
            path.display()
        )
    };
    let private = pem::parse(read(path)?).with_context(wrong)?;
    let key = EncodingKey::from_ec_der(private.contents());
    let mut header = Header::new(Algorithm::ES256);
    header.kid = public_key(&key).with_context(wrong)?.common.key_id;
    Ok((header, key))
}

/// Returns the public part of a key, named by its thumbprint (RFC 7638).
fn public_key(key: &EncodingKey) -> Result<Jwk> {
    let mut public = Jwk::from_encoding_key(key, Algorithm::ES256)?;
    public.common.key_id = Some(public.thumbprint(ThumbprintHash::SHA256)?);
    public.common.key_algorithm = Some(KeyAlgorithm::ES256);
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(public)
}

fn new_key(folder: &Path) -> Result<String> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .ok()
        .context("cannot make a key")?;
    let private = pair.to_pkcs8v1().ok().context("cannot make a key")?;
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref()));
    let keys = vec![public_key(&EncodingKey::from_ec_der(private.as_ref()))?];
    let set = serde_json::to_string_pretty(&JwkSet { keys })?;

    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (key, jwks) = (folder.join("key.pem"), folder.join("jwks.json"));
    // Whoever can read the key can be any user. A key that is in use is not overwritten.
    write_new(&key, &text, 0o600)?;
    write_new(&jwks, &(set + "\n"), 0o644)?;
    Ok(format!(
        "{}: the private key, for --key-file\n{}: the public key, for the service's auth.jwks",
        key.display(),
        jwks.display()
    ))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: TokenOptions,
    }

    fn token(arguments: &[&str]) -> Result<String> {
        let program = Program::try_parse_from([&["token"], arguments].concat())?;
        run(&program.options)
    }

    fn verified(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Value {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&["roomchat"]);
        validation.set_audience(&["roomchat"]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        decode(token, key, &validation).unwrap().claims
    }

    #[test]
    fn a_secret_signs_what_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = "0123456789abcdef0123456789abcdef";
        fs::write(&path, format!("{secret}\n")).unwrap();
        let file = path.to_str().unwrap();
        let rooms = ["--room", "team-*=join,publish", "--room", "vault="];
        let rest = [
            "--secret-file",
            file,
            "--user",
            "alice",
            "--name",
            "Alice B.",
            "--for",
            "90s",
        ];
        let token = token(&[&rest[..], &rooms[..]].concat()).unwrap();
        let claims = verified(
            &token,
            &DecodingKey::from_secret(secret.as_bytes()),
            Algorithm::HS256,
        );
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["name"], "Alice B.");
        assert_eq!(
            claims["rooms"],
            json!({"team-*": ["join", "publish"], "vault": []})
        );
        assert_eq!(
            claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
            90
        );
    }

    #[test]
    fn a_new_key_signs_what_its_public_part_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let keys = keys.to_str().unwrap();
        token(&["--new-key", keys]).unwrap();
        let private = format!("{keys}/key.pem");
        let mode = fs::metadata(&private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let token_of_bob = token(&["--key-file", &private, "--user", "bob"]).unwrap();
        let set = fs::read_to_string(format!("{keys}/jwks.json")).unwrap();
        assert!(
            !set.contains("\"d\""),
            "the public part holds the private key"
        );
        let set: JwkSet = serde_json::from_str(&set).unwrap();
        let kid = decode_header(&token_of_bob).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
        let claims = verified(&token_of_bob, &key, Algorithm::ES256);
        assert_eq!(claims["sub"], "bob");
        assert!(claims.get("rooms").is_none() && claims.get("name").is_none());

        // A key in use is not lost by making another one.
        let before = fs::read(&private).unwrap();
        assert!(token(&["--new-key", keys]).is_err());
        assert_eq!(fs::read(&private).unwrap(), before);
    }

    #[test]
    fn mistakes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "short").unwrap();
        let file = path.to_str().unwrap();
        for (arguments, told) in [
            (&["--user", "a"][..], "--secret-file"),
            (&["--secret-file", file], "--user"),
            (&["--secret-file", file, "--user", "a"], "at least 32"),
            (
                &["--secret-file", "/no/file", "--user", "a"],
                "cannot read /no/file",
            ),
            (&["--key-file", file, "--user", "a"], "P-256"),
            (
                &["--key-file", file, "--user", "a", "--room", "x=dance"],
                "dance is not a right",
            ),
            (
                &["--key-file", file, "--user", "a", "--room", "=join"],
                "PATTERN=RIGHTS",
            ),
            (
                &["--key-file", file, "--user", "a", "--for", "1w"],
                "s, m, h or d",
            ),
            (
                &["--key-file", file, "--user", "a", "--for", "0s"],
                "s, m, h or d",
            ),
            (
                &[
                    "--key-file",
                    file,
                    "--user",
                    "a",
                    "--for",
                    "99999999999999999999d",
                ],
                "s, m, h or d",
            ),
        ] {
            let error = format!("{:#}", token(arguments).unwrap_err());
            assert!(error.contains(told), "{arguments:?}: {error}");
        }
    }
}
