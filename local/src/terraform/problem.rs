//! The reason why an expression has no value, and its place in the files.

use std::fmt;
use std::rc::Rc;

use anyhow::anyhow;

/// The reason why an expression has no value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) cause: Cause,
    /// The argument, local, output or entry that holds the expression.
    pub(crate) place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cause {
    /// The address of an attribute that only AWS knows, such as `aws_sqs_queue.q.url`.
    Cloud(String),
    /// The name of a variable of the root module without a value.
    Variable(String),
    /// A module call that cannot be read: its address, and why.
    Module(String, String),
    /// The expression is wrong. `try` and `can` catch this cause only.
    Invalid(String),
}

/// The place of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The file, relative to the Terraform folder.
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
    /// The whole expression in one line.
    pub(crate) expression: String,
}

impl Problem {
    pub(crate) fn invalid(text: impl Into<String>) -> Problem {
        Problem::new(Cause::Invalid(text.into()))
    }

    pub(crate) fn new(cause: Cause) -> Problem {
        Problem { cause, place: None }
    }

    /// The problem with the place, unless it has one.
    pub(crate) fn at(mut self, place: impl FnOnce() -> Place) -> Problem {
        self.place.get_or_insert_with(place);
        self
    }

    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self.cause, Cause::Invalid(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Problem {
    /// Tells if the text says what to do.
    pub(crate) fn has_remedy(&self) -> bool {
        matches!(self.cause, Cause::Variable(_) | Cause::Module(..))
    }
}

/// The reason without the place. The text follows the name of the argument that lacks the value.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expression = self.place.as_ref().map(|place| place.expression.as_str());
        let mut shown = String::new();
        match &self.cause {
            Cause::Cloud(address) => {
                write!(f, "needs {address}, which only AWS knows")?;
                shown.clone_from(address);
            }
            Cause::Variable(name) => {
                write!(
                    f,
                    "needs the variable \"{name}\", which has no value: give --var {name}=…"
                )?;
                shown = format!("var.{name}");
            }
            Cause::Module(address, why) => write!(f, "needs {address}, which {why}")?,
            Cause::Invalid(text) => write!(f, "cannot be evaluated: {text}")?,
        }
        match expression {
            Some(expression) if expression != shown && !expression.is_empty() => {
                write!(f, " (in `{expression}`)")
            }
            _ => Ok(()),
        }
    }
}

/// An error that begins with the place, and names the argument that lacks its value.
pub(crate) fn problem_of(problem: &Problem, what: &str) -> anyhow::Error {
    match &problem.place {
        Some(place) => anyhow!("{place}: {what} {problem}"),
        None => anyhow!("{what} {problem}"),
    }
}
