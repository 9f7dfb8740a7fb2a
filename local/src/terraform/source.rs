//! The files of a module, before any evaluation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow};
use hcl_edit::Span as _;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, BlockLabel, Body};

use super::expression::File;

/// A piece of a file, and the line on which it begins.
#[derive(Debug)]
pub(super) struct Located<T> {
    pub(super) file: Rc<File>,
    pub(super) line: usize,
    pub(super) item: T,
}

/// A resource or data source; the kind of the latter begins with `data.`.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) body: Located<Body>,
}

impl Resource {
    pub(super) fn address(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }
}

/// The declarations in the `*.tf` files of one folder.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) variables: BTreeMap<String, Located<Body>>,
    pub(super) locals: BTreeMap<String, Located<Expression>>,
    pub(super) outputs: BTreeMap<String, Located<Body>>,
    pub(super) calls: BTreeMap<String, Located<Body>>,
    pub(super) providers: Vec<Located<Body>>,
    pub(super) resources: Vec<Resource>,
}

impl Source {
    /// Reads the folder `path`, which is relative to `root`.
    ///
    /// # Errors
    /// Fails if the folder or a file cannot be read, or a file is not valid HCL.
    pub(super) fn read(root: &Path, path: &Path) -> Result<Source> {
        let mut source = Source::default();
        for name in files(&root.join(path), |name| name.ends_with(".tf"))? {
            let (file, body) = parse(root, &path.join(name))?;
            for block in body.into_blocks() {
                source.add(block, &file);
            }
        }
        Ok(source)
    }

    fn add(&mut self, block: Block, file: &Rc<File>) {
        let labels: Vec<String> = block.labels.iter().map(label).collect();
        let line = file.line(block.span().unwrap_or_default().start);
        let kind = block.ident.to_string();
        let body = Located {
            file: Rc::clone(file),
            line,
            item: block.body,
        };
        match (kind.as_str(), labels.as_slice()) {
            ("variable", [name]) => {
                self.variables.insert(name.clone(), body);
            }
            ("output", [name]) => {
                self.outputs.insert(name.clone(), body);
            }
            ("module", [name]) => {
                self.calls.insert(name.clone(), body);
            }
            ("locals", []) => {
                for attribute in body.item.into_attributes() {
                    let line = file.line(attribute.span().unwrap_or_default().start);
                    let local = Located {
                        file: Rc::clone(file),
                        line,
                        item: attribute.value,
                    };
                    self.locals.insert(attribute.key.to_string(), local);
                }
            }
            ("provider", [name]) if name == "aws" => self.providers.push(body),
            ("resource" | "data", [resource, name]) => {
                let prefix = if kind == "data" { "data." } else { "" };
                self.resources.push(Resource {
                    kind: format!("{prefix}{resource}"),
                    name: name.clone(),
                    body,
                });
            }
            _ => {}
        }
    }
}

pub(super) fn label(label: &BlockLabel) -> String {
    label.as_str().to_owned()
}

/// The expression of an argument.
pub(super) fn argument<'a>(body: &'a Body, name: &str) -> Option<&'a Expression> {
    body.get_attribute(name).map(|attribute| &attribute.value)
}

/// The names of a folder's files, in order.
pub(super) fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the Terraform folder {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if name.to_str().is_some_and(&wanted) {
            names.push(PathBuf::from(name));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file of HCL; its name is relative to `root`.
pub(super) fn parse(root: &Path, name: &Path) -> Result<(Rc<File>, Body)> {
    let name = super::functions::clean(name);
    let shown = name.display();
    let text = std::fs::read_to_string(root.join(&name))
        .with_context(|| format!("cannot read {shown}"))?;
    // An editor may have put a byte order mark before the text.
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let body = hcl_edit::parser::parse_body(&text).map_err(|error| {
        let at = error.location();
        anyhow!(
            "{shown}:{}: not valid HCL at column {}: {}",
            at.line(),
            at.column(),
            error.message()
        )
    })?;
    let name = shown.to_string().into();
    Ok((Rc::new(File { name, text }), body))
}
