//! Deployment packages of functions and layers, and those that Terraform itself zips: `archive_file`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::terraform::{Instance, Module, clean};

/// A zip, or a folder with the same files.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) path: PathBuf,
    /// The files that Terraform would zip into the package. The gateway runs them unzipped.
    pub(crate) archive: Option<Archive>,
}

/// The sources of an `archive_file`.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    /// The Terraform folder.
    pub(crate) folder: PathBuf,
    pub(crate) source_dir: Option<PathBuf>,
    pub(crate) source_file: Option<PathBuf>,
    /// Files by their names in the zip.
    pub(crate) sources: Vec<(String, String)>,
}

impl Archive {
    /// Reports whether the sources exist.
    pub(crate) fn has_sources(&self) -> bool {
        match (&self.source_dir, &self.source_file) {
            (Some(folder), _) => folder.is_dir(),
            (None, Some(file)) => file.is_file(),
            (None, None) => !self.sources.is_empty(),
        }
    }
}

/// The package of a function or layer, if Terraform names one.
///
/// # Errors
/// Fails if only AWS knows the path of the package.
pub(super) fn of(module: &Module, declared: &Instance) -> Result<Option<Package>> {
    let filename = match declared.optional_string("filename")? {
        Some(filename) => Some(filename),
        None => uploaded(module, declared)?,
    };
    let Some(filename) = filename else {
        return Ok(None);
    };
    let path = clean(&module.directory.join(&filename));
    let archive = match archive_of(module, &filename)? {
        // A file that is not a zip counts as the only file of the zip.
        None if path.is_file()
            && path
                .extension()
                .is_none_or(|end| end != "zip" && end != "jar") =>
        {
            Some(Archive {
                folder: module.directory.clone(),
                source_dir: None,
                source_file: Some(path.clone()),
                sources: Vec::new(),
            })
        }
        archive => archive,
    };
    Ok(Some(Package { path, archive }))
}

/// The file that an object in S3 is made from, if that is where the package comes from.
fn uploaded(module: &Module, declared: &Instance) -> Result<Option<String>> {
    let Ok(Some(key)) = declared.optional_string("s3_key") else {
        return Ok(None);
    };
    for kind in ["aws_s3_object", "aws_s3_bucket_object"] {
        for object in module.instances(kind) {
            if matches!(object.optional_string("key"), Ok(Some(own)) if own == key) {
                return object.optional_string("source");
            }
        }
    }
    Ok(None)
}

/// The archive whose output is this `filename`.
fn archive_of(module: &Module, filename: &str) -> Result<Option<Archive>> {
    // The provider has both forms; the resource is the older one.
    for kind in ["data.archive_file", "archive_file"] {
        for declared in module.instances(kind) {
            let output = declared.optional_string("output_path");
            if output.is_ok_and(|output| output.as_deref() == Some(filename)) {
                return read(declared, &module.directory).map(Some);
            }
        }
    }
    Ok(None)
}

fn read(declared: &Instance, folder: &Path) -> Result<Archive> {
    // Terraform runs in its folder, so relative paths begin there.
    let path =
        |name| Ok::<_, anyhow::Error>(declared.optional_string(name)?.map(|p| folder.join(p)));
    let mut sources = Vec::new();
    for source in declared.blocks("source")? {
        sources.push((source.string("filename")?, source.string("content")?));
    }
    // The short form of one `source`.
    if let Some(name) = declared.optional_string("source_content_filename")? {
        sources.push((name, declared.string("source_content")?));
    }
    Ok(Archive {
        folder: folder.to_owned(),
        source_dir: path("source_dir")?,
        source_file: path("source_file")?,
        sources,
    })
}
