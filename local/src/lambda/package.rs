//! From a declared function to the program that runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::terraform::Function;

/// An executable and the folder it runs in.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    /// `LAMBDA_TASK_ROOT`, and the working directory.
    pub(crate) directory: PathBuf,
}

/// Finds what runs a function. For one whose package is `KEY.zip`, made from source, that is the binary `<functions>/KEY`
/// or `<functions>/KEY/bootstrap` if there is one. For any other it is the `bootstrap` of its package, a zip (unpacked
/// below `unpack`) or a folder.
///
/// # Errors
/// When there is neither, it cannot be executed, or the runtime brings an interpreter that only AWS has.
pub(crate) fn find(function: &Function, functions: &Path, unpack: &Path) -> Result<Program> {
    let key = &function.key;
    let native = std::path::absolute(functions.join(key))?;
    let own_zip = format!("{key}.zip");
    let named = function.package.as_deref().and_then(Path::file_name);
    if named.is_none_or(|name| name == own_zip.as_str()) {
        for binary in [&native, &native.join("bootstrap")] {
            if binary.is_file() {
                return program(binary);
            }
        }
    }
    if !function.runtime.starts_with("provided") {
        bail!(
            "function {key} wants the runtime {}: only provided.* runs here, whose package holds an executable `bootstrap`",
            function.runtime
        );
    }
    let Some(package) = function.package.as_deref() else {
        bail!(
            "function {key}: there is no binary {} and Terraform names no `filename`",
            native.display()
        );
    };
    if package.is_dir() {
        program(&package.join("bootstrap"))
    } else if package.is_file() {
        let directory = unpack.join(&function.function_name);
        extract(package, &directory)
            .with_context(|| format!("function {key}: cannot unpack {}", package.display()))?;
        program(&directory.join("bootstrap"))
    } else {
        bail!(
            "function {key}: there is neither a binary {} nor a package {}; build it first",
            native.display(),
            package.display()
        )
    }
    .with_context(|| format!("function {key}"))
}

fn program(executable: &Path) -> Result<Program> {
    let executable = executable
        .canonicalize()
        .with_context(|| format!("there is no {}", executable.display()))?;
    let mode = fs::metadata(&executable)?.permissions().mode();
    if mode & 0o111 == 0 {
        bail!("{} is not executable; `chmod +x` it", executable.display());
    }
    let directory = executable.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Program {
        executable,
        directory,
    })
}

fn extract(package: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    zip::ZipArchive::new(fs::File::open(package)?)?.extract(directory)?;
    Ok(())
}
