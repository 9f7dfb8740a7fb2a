//! Packages of functions that Terraform zips, or that lie in a bucket.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::runtimes::{Deployment, ask};

/// A Node.js function that imports a module of Lambda's runtime. A stand-in for it lies beside the package or in NODE_PATH.
const IMPORTS: &str = r#"import { name } from "@aws-sdk/stand-in";
import fs from "node:fs";
export const handler = async () => ({ statusCode: 200, body: JSON.stringify([name, fs.readdirSync(".").sort()]) });"#;

/// A deployment with another declaration of its package.
fn packaged(archive: &str, runtime: &str) -> Deployment {
    let deployment = Deployment::new(&[("packed", runtime, "index.handler")], "")
        .file("index.mjs", IMPORTS)
        .file("index.py", "import os\ndef handler(event, context):\n  return {'statusCode': 200, 'body': '%d' % len(os.listdir('.'))}")
        .file("sibling.mjs", "");
    let main = deployment.path().join("main.tf");
    let text = fs::read_to_string(&main).unwrap();
    let from = "source_dir  = \"${path.module}/source\"";
    assert!(text.contains(from));
    fs::write(&main, text.replace(from, archive)).unwrap();
    for (name, content) in [
        (
            "package.json",
            r#"{"name": "@aws-sdk/stand-in", "main": "index.js"}"#,
        ),
        ("index.js", "exports.name = 'stand-in';"),
    ] {
        let folder = deployment.path().join("node_modules/@aws-sdk/stand-in");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }
    deployment
}

fn answers(deployment: &Deployment, expected: &Value) {
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    assert_eq!(&ask(&mut client, "packed"), expected);
}

#[test]
fn an_archive_holds_what_its_zip_would() {
    // The SDK is found beside the source. Files that would not be in the zip are missing.
    answers(
        &packaged(
            "source_file = \"${path.module}/source/index.mjs\"",
            "nodejs20.x",
        ),
        &json!(["stand-in", ["index.mjs"]]),
    );
    // Terraform runs in its folder.
    answers(
        &packaged("source_file = \"source/index.mjs\"", "nodejs20.x"),
        &json!(["stand-in", ["index.mjs"]]),
    );
    answers(
        &packaged(
            "source {\n filename = basename(\"x/index.mjs\")\n content = file(\"${path.module}/source/index.mjs\")\n }\n source {\n filename = \"lib/empty.txt\"\n content = \"\"\n }",
            "nodejs20.x",
        ),
        &json!(["stand-in", ["index.mjs", "lib"]]),
    );
    answers(
        &packaged("source_dir = \"source\"", "python3.11"),
        &json!(3),
    );
}

#[test]
fn a_zip_in_a_bucket_is_the_file_it_was_uploaded_from() {
    let deployment = packaged("source_dir = \"nowhere\"", "nodejs20.x");
    let mut zip =
        zip::ZipWriter::new(fs::File::create(deployment.path().join("package.zip")).unwrap());
    zip.start_file("index.mjs", zip::write::SimpleFileOptions::default())
        .unwrap();
    std::io::Write::write_all(&mut zip, IMPORTS.as_bytes()).unwrap();
    zip.finish().unwrap();
    let main = deployment.path().join("main.tf");
    let text = fs::read_to_string(&main).unwrap();
    let uploaded = "s3_bucket = \"packages\"\n  s3_key = aws_s3_object.package.key\n  layers = [\"arn:aws:lambda:us-east-1:1:layer:x:1\"]";
    let text = text.replace(
        "filename         = data.archive_file.package.output_path",
        uploaded,
    ) + "resource \"aws_s3_object\" \"package\" {\n bucket = \"packages\"\n key = \"package.zip\"\n source = data.archive_file.package.output_path\n}\n";
    fs::write(&main, text).unwrap();
    let gateway = deployment.start(&[]);
    // The sources of the archive are missing, but its zip exists.
    let mut client = gateway.connect("/prod");
    assert_eq!(
        ask(&mut client, "packed"),
        json!(["stand-in", ["index.mjs"]])
    );
    gateway.wait_for_line("the layer arn:aws:lambda:us-east-1:1:layer:x:1 of function");
}

#[test]
fn what_a_function_needs_and_has_not_is_said_before_anything_starts() {
    let refused = |deployment: &Deployment, path: Option<&Path>, expected: &str| {
        let mut command = kit::command(deployment.path(), &[]);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    let source = "source_dir = \"source\"";
    let empty = tempfile::tempdir().unwrap();
    for (runtime, command) in [("nodejs20.x", "node"), ("python3.11", "python3")] {
        let expected = format!("there is no `{command}` in PATH");
        refused(&packaged(source, runtime), Some(empty.path()), &expected);
    }
    refused(
        &packaged(source, "java21"),
        None,
        "only nodejs*, python3.*, go1.x and provided.* run here",
    );
    refused(
        &packaged("source_dir = \"gone\"", "nodejs20.x"),
        None,
        "/gone is not a folder",
    );
    refused(
        &packaged("source_file = \"gone.mjs\"", "nodejs20.x"),
        None,
        "gone.mjs",
    );
    refused(
        &packaged(
            "source {\n filename = \"../outside.mjs\"\n content = \"\"\n }",
            "nodejs20.x",
        ),
        None,
        "a path that leaves the package",
    );
}
