//! From a declared function to the program that runs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::program::Program;
use super::runtimes::{Language, Runtimes};
use crate::deployment::{Archive, Function};

/// Finds the program of a function.
///
/// The package `NAME.zip` stands for the binary `<functions>/NAME` or `<functions>/NAME/bootstrap`, if there is one: a
/// build of the same source for this machine. Without a package, NAME is the function's key. Otherwise the program is in
/// the package, which is unpacked below `unpack`: its `bootstrap`, or its handler if the runtime brings an interpreter.
///
/// # Errors
/// When there is neither, it cannot be executed, or the runtime is one that does not run here.
pub(crate) fn find(
    function: &Function,
    functions: &Path,
    unpack: &Path,
    runtimes: &mut Runtimes,
) -> Result<Program> {
    let key = &function.key;
    if let Some(language) = Language::of(&function.runtime) {
        let found = unpacked(function, unpack).and_then(|(directory, origin)| {
            runtimes.program(language, function, &directory, &origin)
        });
        return found.with_context(|| format!("function {key}"));
    }
    let package = function.package.as_deref().unwrap_or(Path::new(key));
    let native = std::path::absolute(functions.join(package.file_stem().unwrap_or_default()))?;
    if function.package.is_none() || package.extension().is_some_and(|end| end == "zip") {
        for binary in [&native, &native.join("bootstrap")] {
            if binary.is_file() {
                return program(binary);
            }
        }
    }
    if function.runtime.is_empty() {
        bail!("function {key} names no `runtime`: container images do not run here");
    }
    if !function.runtime.starts_with("provided") {
        bail!(
            "function {key} wants the runtime {}: only nodejs*, python3.* and provided.* run here",
            function.runtime
        );
    }
    unpacked(function, unpack)
        .with_context(|| {
            format!(
                "there is neither a binary {} nor a package",
                native.display()
            )
        })
        .and_then(|(directory, _)| program(&directory.join("bootstrap")))
        .with_context(|| format!("function {key}"))
}

/// The folder that holds what the function's package does, and where that comes from.
fn unpacked(function: &Function, unpack: &Path) -> Result<(PathBuf, PathBuf)> {
    let own = unpack.join(&function.function_name);
    let Some(package) = function.package.as_deref() else {
        bail!("Terraform names no `filename` for it");
    };
    // A zip may also be all there is, as when it came from elsewhere.
    if let Some(archive) = &function.archive
        && (archive.has_sources() || !package.exists())
    {
        return from_sources(archive, &own);
    }
    if package.is_dir() {
        return Ok((package.to_owned(), package.to_owned()));
    }
    if !package.is_file() {
        bail!("there is no {}; build it first", package.display());
    }
    extract(package, &own).with_context(|| format!("cannot unpack {}", package.display()))?;
    let beside = package.parent().unwrap_or(package).to_owned();
    Ok((own, std::path::absolute(beside)?))
}

/// What an `archive_file` would put into the zip, which need not be there. A `source_dir` is used where it is, so a
/// change to it is seen by the next process.
fn from_sources(archive: &Archive, own: &Path) -> Result<(PathBuf, PathBuf)> {
    if let Some(source) = &archive.source_dir {
        if !source.is_dir() {
            bail!("its archive's source_dir {} is no folder", source.display());
        }
        return Ok((source.clone(), source.clone()));
    }
    fs::create_dir_all(own)?;
    if let Some(file) = &archive.source_file {
        let (Some(name), Some(folder)) = (file.file_name(), file.parent()) else {
            bail!("its archive's source_file {} is no file", file.display());
        };
        fs::copy(file, own.join(name))
            .with_context(|| format!("its archive's source_file {}", file.display()))?;
        return Ok((own.to_owned(), folder.to_owned()));
    }
    for (name, content) in &archive.sources {
        let path = Path::new(name);
        if !path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            bail!("its archive holds \"{name}\", a path that leaves the package");
        }
        let path = own.join(path);
        fs::create_dir_all(path.parent().unwrap_or(own))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok((own.to_owned(), archive.folder.clone()))
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
        arguments: Vec::new(),
        directory,
        environment: BTreeMap::new(),
    })
}

fn extract(package: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    zip::ZipArchive::new(fs::File::open(package)?)?.extract(directory)?;
    Ok(())
}
