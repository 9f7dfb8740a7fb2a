//! Lambda's Node.js and Python runtimes: this machine's interpreter, and a bootstrap of ours that speaks the Runtime
//! API for the handler.
//!
//! The AWS SDKs that Lambda provides are not included: the one for JavaScript comes from a `node_modules` folder,
//! boto3 from the Python that is found first, as in a venv.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::program::Program;
use crate::deployment::Function;
use crate::log;

const NODE_BOOTSTRAP: &str = include_str!("bootstrap.mjs");
const PYTHON_BOOTSTRAP: &str = include_str!("bootstrap.py");

/// Prints the interpreter's own path, not that of a shim, its version, and the flags below that it knows.
const ASK_NODE: &str = r#"
console.log(process.execPath);
console.log(process.versions.node);
console.log(["--no-experimental-require-module", "--no-experimental-detect-module"]
    .filter((flag) => process.allowedNodeEnvironmentFlags.has(flag)).join(" "));
"#;
const ASK_PYTHON: &str =
    "import platform, sys; print(sys.executable); print(platform.python_version())";

/// From this version on, Lambda enables the newer rules of Node.js for telling modules from scripts.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html>
const NODE_WITHOUT_FLAGS: u32 = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    Node,
    Python,
}

impl Language {
    /// Returns the language of a runtime, if it runs here.
    pub(super) fn of(runtime: &str) -> Option<Language> {
        if runtime.starts_with("nodejs") {
            Some(Language::Node)
        } else if runtime.starts_with("python3.") {
            Some(Language::Python)
        } else {
            None
        }
    }

    fn command(self) -> &'static str {
        match self {
            Language::Node => "node",
            Language::Python => "python3",
        }
    }
}

/// An interpreter of this machine.
#[derive(Debug, Clone)]
struct Interpreter {
    executable: PathBuf,
    version: String,
    /// The flags that make the interpreter as strict as Lambda's.
    flags: String,
    bootstrap: PathBuf,
}

/// The interpreters. Each is searched for when the first function needs it.
#[derive(Debug)]
pub(crate) struct Runtimes {
    directory: PathBuf,
    found: BTreeMap<Language, Interpreter>,
    /// The runtimes for which a notice of another version was logged.
    differing: BTreeSet<String>,
}

impl Runtimes {
    /// Writes the bootstraps to `directory`, which must exist as long as functions run.
    pub(crate) fn new(directory: &Path) -> Runtimes {
        Runtimes {
            directory: directory.to_owned(),
            found: BTreeMap::new(),
            differing: BTreeSet::new(),
        }
    }

    /// Returns the program of a function whose package is unpacked in `root`. `origin` is the folder that the package comes
    /// from: the `node_modules` there and in the folders above are found, too.
    ///
    /// # Errors
    /// Fails if the interpreter is not installed, or the function has no handler.
    pub(super) fn program(
        &mut self,
        language: Language,
        function: &Function,
        root: &Path,
        origin: &Path,
        layers: &[PathBuf],
    ) -> Result<Program> {
        let runtime = &function.runtime;
        if function.handler.is_empty() {
            bail!("`handler` is missing: for {runtime} it is FILE.FUNCTION");
        }
        let interpreter = match self.found.get(&language) {
            Some(interpreter) => interpreter.clone(),
            None => {
                let interpreter = find(language, &self.directory)
                    .with_context(|| format!("the runtime {runtime} cannot be had"))?;
                self.found.insert(language, interpreter.clone());
                interpreter
            }
        };
        if !is_version(runtime, &interpreter.version) && self.differing.insert(runtime.clone()) {
            log::plain(&format!(
                "{runtime} runs on this machine's {} {}.",
                language.command(),
                interpreter.version
            ));
        }
        let root = std::path::absolute(root)?;
        let mut environment = BTreeMap::from([
            (
                "AWS_EXECUTION_ENV".to_owned(),
                format!("AWS_Lambda_{runtime}"),
            ),
            (
                "LAMBDA_RUNTIME_DIR".to_owned(),
                self.directory.display().to_string(),
            ),
        ]);
        let mut arguments = Vec::new();
        match language {
            Language::Node => {
                let declared = |name: &str| function.environment.get(name).cloned();
                // The function's own variable comes last, so it wins.
                let flags = [node_flags(runtime, &interpreter), declared("NODE_OPTIONS")];
                let path = [
                    declared("NODE_PATH"),
                    std::env::var("NODE_PATH").ok(),
                    in_layers(layers, "nodejs", "node_modules"),
                    node_modules(&root, origin),
                ];
                for (name, parts, separator) in [
                    ("NODE_OPTIONS", flags.as_slice(), " "),
                    ("NODE_PATH", path.as_slice(), ":"),
                ] {
                    let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
                    if !parts.is_empty() {
                        environment.insert(name.to_owned(), parts.join(separator));
                    }
                }
            }
            Language::Python => {
                // Packages are read-only on Lambda, so nothing is compiled into them.
                arguments.push(OsString::from("-B"));
                let declared = function.environment.get("PYTHONPATH").cloned();
                let path: Vec<String> = in_layers(layers, "python", "site-packages")
                    .into_iter()
                    .chain(declared)
                    .collect();
                if !path.is_empty() {
                    environment.insert("PYTHONPATH".to_owned(), path.join(":"));
                }
            }
        }
        arguments.push(interpreter.bootstrap.into());
        Ok(Program {
            executable: interpreter.executable,
            arguments,
            directory: root,
            environment,
        })
    }
}

fn find(language: Language, directory: &Path) -> Result<Interpreter> {
    let name = language.command();
    let (ask, question, file, bootstrap) = match language {
        Language::Node => ("-e", ASK_NODE, "bootstrap.mjs", NODE_BOOTSTRAP),
        Language::Python => ("-c", ASK_PYTHON, "bootstrap.py", PYTHON_BOOTSTRAP),
    };
    let output = match Command::new(name)
        .args([ask, question])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no `{name}` in PATH; install it")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot run `{name}`")),
    };
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = answer.lines();
    let (Some(executable), Some(version), true) =
        (lines.next(), lines.next(), output.status.success())
    else {
        bail!("`{name}` does not run: {}", output.status);
    };
    let path = directory.join(file);
    fs::write(&path, bootstrap).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Interpreter {
        executable: PathBuf::from(executable),
        version: version.to_owned(),
        flags: lines.next().unwrap_or_default().to_owned(),
        bootstrap: path,
    })
}

/// Reports whether a runtime has the interpreter's version: `nodejs20.x` and 20.20.2, `python3.11` and 3.11.7.
fn is_version(runtime: &str, version: &str) -> bool {
    let wanted = runtime
        .trim_start_matches("nodejs")
        .trim_start_matches("python");
    let wanted = wanted.trim_end_matches(".x");
    version
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn node_flags(runtime: &str, interpreter: &Interpreter) -> Option<String> {
    let declared = runtime
        .trim_start_matches("nodejs")
        .trim_end_matches(".x")
        .parse::<u32>();
    let strict = declared.is_ok_and(|version| version < NODE_WITHOUT_FLAGS);
    (strict && !interpreter.flags.is_empty()).then(|| interpreter.flags.clone())
}

/// Returns the `node_modules` folders that are found from the origin of a package, but not from the folder where it
/// runs, in the form of NODE_PATH.
fn node_modules(root: &Path, origin: &Path) -> Option<String> {
    let found: Vec<String> = origin
        .ancestors()
        .filter(|folder| !root.starts_with(folder))
        .map(|folder| folder.join("node_modules"))
        .filter(|modules| modules.is_dir())
        .map(|modules| modules.display().to_string())
        .collect();
    (!found.is_empty()).then(|| found.join(":"))
}

/// The folders of layers in which Lambda looks for modules: `python/`, and the folders named `inner` below it or below
/// `nodejs/`, whatever version of the language the path names.
fn in_layers(layers: &[PathBuf], language: &str, inner: &str) -> Option<String> {
    let mut found = Vec::new();
    for layer in layers {
        let folder = layer.join(language);
        let mut folders = vec![(folder.clone(), 0)];
        while let Some((next, depth)) = folders.pop() {
            if next.file_name().is_some_and(|name| name == inner) {
                found.push(next.display().to_string());
            } else if depth < 3
                && let Ok(entries) = fs::read_dir(&next)
            {
                let inner = entries
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.is_dir());
                folders.extend(inner.map(|path| (path, depth + 1)));
            }
        }
        if language == "python" && folder.is_dir() {
            found.push(folder.display().to_string());
        }
    }
    (!found.is_empty()).then(|| found.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_far_as_the_runtime_names_them() {
        for (runtime, version, same) in [
            ("nodejs20.x", "20.20.2", true),
            ("nodejs22.x", "20.20.2", false),
            ("nodejs2.x", "20.20.2", false),
            ("python3.11", "3.11.7", true),
            ("python3.1", "3.11.7", false),
        ] {
            assert_eq!(is_version(runtime, version), same, "{runtime} {version}");
        }
    }

    #[test]
    fn modules_beside_a_package_that_was_unpacked_elsewhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("dist/package.zip");
        let modules = folder.path().join("node_modules");
        fs::create_dir_all(&modules).unwrap();
        let found = node_modules(Path::new("/elsewhere/unpacked"), &package);
        assert_eq!(found, Some(modules.display().to_string()));
        // From a folder that runs in place, Node.js finds them itself.
        let source = folder.path().join("source");
        assert_eq!(node_modules(&source, &source), None);
    }
}
