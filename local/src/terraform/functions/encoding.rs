//! Functions that encode, decode and hash.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Digest as _;
use uuid::Uuid;

use super::yaml;
use super::{Arguments, Function};
use crate::terraform::value::{Map, Value};

/// The characters that `urlencode` keeps beside letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("base64decode", |args| utf8(base64(&args.string(0)?)?)),
    ("base64encode", |args| {
        Ok(BASE64_STANDARD.encode(args.string(0)?).into())
    }),
    ("base64gzip", |args| {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let written = zip
            .write_all(args.string(0)?.as_bytes())
            .and_then(|()| zip.finish());
        Ok(BASE64_STANDARD
            .encode(written.map_err(|e| e.to_string())?)
            .into())
    }),
    ("base64sha256", |args| {
        Ok(BASE64_STANDARD
            .encode(sha2::Sha256::digest(args.string(0)?))
            .into())
    }),
    ("base64sha512", |args| {
        Ok(BASE64_STANDARD
            .encode(sha2::Sha512::digest(args.string(0)?))
            .into())
    }),
    ("bcrypt", |args| {
        let cost = if args.values.len() > 1 {
            args.whole(1)?
        } else {
            10
        };
        let cost = u32::try_from(cost).map_err(|_| "the cost is negative")?;
        bcrypt::hash(args.string(0)?, cost)
            .map(Value::from)
            .map_err(|error| error.to_string())
    }),
    ("csvdecode", csvdecode),
    ("jsondecode", |args| {
        let json: serde_json::Value =
            serde_json::from_str(&args.string(0)?).map_err(|e| e.to_string())?;
        Ok(json.into())
    }),
    ("jsonencode", |args| Ok(args.get(0)?.to_json().into())),
    ("md5", |args| {
        Ok(hex(&md5::compute(args.string(0)?).0).into())
    }),
    ("sha1", |args| {
        Ok(hex(&sha1::Sha1::digest(args.string(0)?)).into())
    }),
    ("sha256", |args| {
        Ok(hex(&sha2::Sha256::digest(args.string(0)?)).into())
    }),
    ("sha512", |args| {
        Ok(hex(&sha2::Sha512::digest(args.string(0)?)).into())
    }),
    ("textdecodebase64", |args| {
        let (bytes, encoding) = (base64(&args.string(0)?)?, args.string(1)?);
        match encoding.to_uppercase().as_str() {
            "UTF-8" => utf8(bytes),
            "UTF-16LE" => utf16(&bytes, u16::from_le_bytes),
            "UTF-16BE" => utf16(&bytes, u16::from_be_bytes),
            "ISO-8859-1" => Ok(bytes.into_iter().map(char::from).collect::<String>().into()),
            _ => Err(format!("the encoding {encoding} is not known here")),
        }
    }),
    ("textencodebase64", |args| {
        let (text, encoding) = (args.string(0)?, args.string(1)?);
        let bytes: Vec<u8> = match encoding.to_uppercase().as_str() {
            "UTF-8" => text.into_bytes(),
            "UTF-16LE" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "UTF-16BE" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            "ISO-8859-1" => text
                .chars()
                .map(|c| u8::try_from(c).map_err(|_| format!("\"{c}\" is not in {encoding}")))
                .collect::<Result<_, _>>()?,
            _ => return Err(format!("the encoding {encoding} is not known here")),
        };
        Ok(BASE64_STANDARD.encode(bytes).into())
    }),
    ("urlencode", |args| {
        Ok(utf8_percent_encode(&args.string(0)?, ENCODED)
            .to_string()
            .replace("%20", "+")
            .into())
    }),
    ("uuid", |_| Ok(Uuid::new_v4().to_string().into())),
    ("uuidv5", |args| {
        let namespace = args.string(0)?;
        let id = match namespace.as_str() {
            "dns" => Uuid::NAMESPACE_DNS,
            "url" => Uuid::NAMESPACE_URL,
            "oid" => Uuid::NAMESPACE_OID,
            "x500" => Uuid::NAMESPACE_X500,
            other => other
                .parse()
                .map_err(|_| format!("\"{other}\" is not a namespace"))?,
        };
        Ok(Uuid::new_v5(&id, args.string(1)?.as_bytes())
            .to_string()
            .into())
    }),
    ("yamldecode", |args| yaml::decode(&args.string(0)?)),
    ("yamlencode", |args| Ok(yaml::encode(args.get(0)?).into())),
];

/// The hash of a file's bytes by the name of the function.
pub(super) fn hash(name: &str, bytes: &[u8]) -> String {
    match name {
        "filemd5" => hex(&md5::compute(bytes).0),
        "filesha1" => hex(&sha1::Sha1::digest(bytes)),
        "filesha256" => hex(&sha2::Sha256::digest(bytes)),
        "filesha512" => hex(&sha2::Sha512::digest(bytes)),
        "filebase64sha256" => BASE64_STANDARD.encode(sha2::Sha256::digest(bytes)),
        "filebase64sha512" => BASE64_STANDARD.encode(sha2::Sha512::digest(bytes)),
        _ => BASE64_STANDARD.encode(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| format!("not base64: {error}"))
}

fn utf8(bytes: Vec<u8>) -> Result<Value, String> {
    let text = String::from_utf8(bytes).map_err(|_| "the bytes are not UTF-8".to_owned())?;
    Ok(text.into())
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> Result<Value, String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
    match String::from_utf16(&units) {
        Ok(text) if rest.is_empty() => Ok(text.into()),
        _ => Err("the bytes are not UTF-16".to_owned()),
    }
}

fn csvdecode(args: &Arguments<'_>) -> Result<Value, String> {
    let text = args.string(0)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        let fields = names.iter().zip(row.iter());
        rows.push(
            fields
                .map(|(name, field)| (name.to_owned(), field.into()))
                .collect::<Map>()
                .into(),
        );
    }
    Ok(rows.into())
}
