//! Finds the program of a declared function.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::program::Program;
use super::runtimes::{Language, Runtimes};
use crate::deployment::{Archive, Function, Package};

/// Finds the program of a function.
///
/// The package `NAME.zip` stands for the binary `<functions>/NAME` or `<functions>/NAME/bootstrap`, if there is one: a
/// build of the same source for this machine. Without a package, NAME is the function's key. Otherwise the program is in
/// the package, which is unpacked below `unpack`: its `bootstrap`, or its handler if the runtime brings an interpreter.
///
/// # Errors
/// Fails if there is no program, it cannot be executed, or the runtime does not run here.
pub(crate) fn find(
    function: &Function,
    functions: &Path,
    unpack: &Path,
    runtimes: &mut Runtimes,
) -> Result<Program> {
    let key = &function.key;
    let found = match Language::of(&function.runtime) {
        Some(language) => interpreted(language, function, unpack, runtimes),
        None => native(function, functions, unpack),
    };
    let mut program = found.with_context(|| format!("{}: function {key}", function.place))?;
    let layers = layers(function, unpack)?;
    for (variable, folder) in [("PATH", "bin"), ("LD_LIBRARY_PATH", "lib")] {
        let folders = layers
            .iter()
            .map(|layer| layer.join(folder))
            .filter(|f| f.is_dir());
        let mut paths: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
        if !paths.is_empty() {
            paths.extend(std::env::var(variable));
            program
                .environment
                .insert(variable.to_owned(), paths.join(":"));
        }
    }
    Ok(program)
}

fn interpreted(
    language: Language,
    function: &Function,
    unpack: &Path,
    runtimes: &mut Runtimes,
) -> Result<Program> {
    let own = unpack.join(&function.function_name);
    let (directory, origin) = unpacked(function.package.as_ref(), &own)?;
    let layers = layers(function, unpack)?;
    runtimes.program(language, function, &directory, &origin, &layers)
}

/// The folders of a function's layers. The content of a later one goes before that of an earlier one, as on Lambda.
fn layers(function: &Function, unpack: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for (index, layer) in function.layers.iter().enumerate().rev() {
        let own = unpack.join(format!("{}.layers/{index}", function.function_name));
        let (folder, _) = unpacked(Some(&layer.package), &own)
            .with_context(|| format!("{}: layer {}", function.place, layer.name))?;
        folders.push(std::path::absolute(folder)?);
    }
    Ok(folders)
}

fn native(function: &Function, functions: &Path, unpack: &Path) -> Result<Program> {
    let Function { key, runtime, .. } = function;
    let path = function
        .package
        .as_ref()
        .map_or(Path::new(key), |package| package.path.as_path());
    let runs_here = runtime.starts_with("provided") || runtime == "go1.x";
    let mut names = Vec::new();
    if function.package.is_none() || path.extension().is_some_and(|end| end == "zip") {
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    // A program for this machine replaces a package that does not run here.
    if !runs_here {
        names.extend([key.clone(), function.function_name.clone()]);
    }
    for name in &names {
        let binary = functions.join(name);
        for binary in [&binary, &binary.join("bootstrap")] {
            if binary.is_file() {
                return program(binary);
            }
        }
    }
    let wanted = functions.join(key);
    let wanted = wanted.display();
    if runtime.is_empty() {
        bail!("is a container image, which does not run here: put a native program at {wanted}");
    }
    if !runs_here {
        bail!(
            "wants the runtime {runtime}, and only nodejs*, python3.*, go1.x and provided.* run here: put a native program at {wanted}"
        );
    }
    let own = unpack.join(&function.function_name);
    let (directory, _) = unpacked(function.package.as_ref(), &own)
        .with_context(|| format!("there is neither a native program {wanted} nor a package"))?;
    program(&match runtime.as_str() {
        "go1.x" => directory.join(&function.handler),
        _ => directory.join("bootstrap"),
    })
}

/// The folder with the files of a package, and the folder that they come from.
fn unpacked(package: Option<&Package>, own: &Path) -> Result<(PathBuf, PathBuf)> {
    let Some(package) = package else {
        bail!("Terraform names no package in this folder for it");
    };
    let path = &package.path;
    // The sources may be missing, if the zip was built elsewhere.
    if let Some(archive) = &package.archive
        && (archive.has_sources() || !path.exists())
    {
        return from_sources(archive, own);
    }
    if path.is_dir() {
        return Ok((path.clone(), path.clone()));
    }
    if !path.is_file() {
        bail!("there is no {}; build it first", path.display());
    }
    extract(path, own).with_context(|| format!("cannot unpack {}", path.display()))?;
    let beside = path.parent().unwrap_or(path).to_owned();
    Ok((own.to_owned(), std::path::absolute(beside)?))
}

/// Collects the sources of an `archive_file`, whose zip need not exist. A `source_dir` is used in place, so that the next
/// process sees a change.
fn from_sources(archive: &Archive, own: &Path) -> Result<(PathBuf, PathBuf)> {
    if let Some(source) = &archive.source_dir {
        if !source.is_dir() {
            bail!(
                "its archive's source_dir {} is not a folder",
                source.display()
            );
        }
        return Ok((source.clone(), source.clone()));
    }
    fs::create_dir_all(own)?;
    if let Some(file) = &archive.source_file {
        let (Some(name), Some(folder)) = (file.file_name(), file.parent()) else {
            bail!("its archive's source_file {} is not a file", file.display());
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
