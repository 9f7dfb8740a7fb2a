//! Functions of files and paths.

use std::fs;
use std::path::{Component, Path, PathBuf};

use regex_lite::Regex;

use super::{Arguments, Function, encoding};
use crate::terraform::value::Value;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("abspath", |args| {
        let path = args.path(&args.string(0)?);
        Ok(
            clean(&std::path::absolute(path).map_err(|e| e.to_string())?)
                .display()
                .to_string()
                .into(),
        )
    }),
    ("basename", |args| {
        let path = args.string(0)?;
        let path = path.trim_end_matches('/');
        let name = path.rsplit('/').next().unwrap_or_default();
        Ok(if name.is_empty() {
            if args.string(0)?.is_empty() { "." } else { "/" }
        } else {
            name
        }
        .into())
    }),
    ("dirname", |args| {
        let path = args.string(0)?;
        let folder = path.rfind('/').map_or("", |at| &path[..=at]);
        let folder = clean(Path::new(folder)).display().to_string();
        Ok(folder.into())
    }),
    ("file", |args| {
        let path = args.string(0)?;
        args.read(&path).map(Value::from)
    }),
    ("filebase64", |args| hashed(args, "filebase64")),
    ("filebase64sha256", |args| hashed(args, "filebase64sha256")),
    ("filebase64sha512", |args| hashed(args, "filebase64sha512")),
    ("fileexists", |args| {
        let path = args.string(0)?;
        match args.path(&path).is_dir() {
            true => Err(format!("{path} is a folder, not a file")),
            false => Ok(args.path(&path).is_file().into()),
        }
    }),
    ("filemd5", |args| hashed(args, "filemd5")),
    ("fileset", fileset),
    ("filesha1", |args| hashed(args, "filesha1")),
    ("filesha256", |args| hashed(args, "filesha256")),
    ("filesha512", |args| hashed(args, "filesha512")),
    ("pathexpand", |args| {
        let path = args.string(0)?;
        let home = std::env::var("HOME").unwrap_or_default();
        Ok(match path.strip_prefix('~') {
            Some("") => home.into(),
            Some(rest) if rest.starts_with('/') => format!("{home}{rest}").into(),
            _ => path.into(),
        })
    }),
];

fn hashed(args: &Arguments<'_>, name: &str) -> Result<Value, String> {
    let path = args.string(0)?;
    let bytes = fs::read(args.path(&path)).map_err(|error| format!("{path}: {error}"))?;
    Ok(encoding::hash(name, &bytes).into())
}

/// The path without `.`, and without `..` where there is a name before it.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match (part, cleaned.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                cleaned.pop();
            }
            _ => cleaned.push(part),
        }
    }
    if cleaned.as_os_str().is_empty() {
        cleaned.push(".");
    }
    cleaned
}

/// The files below a folder whose paths match the pattern.
fn fileset(args: &Arguments<'_>) -> Result<Value, String> {
    let folder = args.path(&args.string(0)?);
    let pattern = args.string(1)?;
    let wanted = Regex::new(&regex_of(&pattern)?).map_err(|e| format!("\"{pattern}\": {e}"))?;
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&inner)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = inner.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| error.to_string())?;
            // A link to a folder is not followed, since it may lead back.
            if kind.is_dir() {
                folders.push(path);
            } else if folder.join(&path).is_file() {
                let path = path.display().to_string();
                if wanted.is_match(&path) {
                    found.push(path.into());
                }
            }
        }
    }
    Ok(Value::set(found))
}

/// A pattern of `fileset` as a regular expression.
fn regex_of(pattern: &str) -> Result<String, String> {
    let mut out = String::from("^");
    let mut characters = pattern.chars().peekable();
    let mut depth = 0;
    while let Some(c) = characters.next() {
        match c {
            '*' if characters.peek() == Some(&'*') => {
                characters.next();
                // `**/` also matches no folder at all.
                if characters.peek() == Some(&'/') {
                    characters.next();
                    out.push_str("(?:.*/)?");
                } else {
                    out.push_str(".*");
                }
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '[' => {
                out.push('[');
                if characters.peek() == Some(&'!') {
                    characters.next();
                    out.push('^');
                }
                for c in characters.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '\\' => {
                let c = characters
                    .next()
                    .ok_or("the pattern ends with a backslash")?;
                out.push_str(&regex_lite::escape(&c.to_string()));
            }
            c => out.push_str(&regex_lite::escape(&c.to_string())),
        }
    }
    out.push('$');
    Ok(out)
}
