//! Parses a template into its nodes: text, references and directives. Expressions have a module of their own.

mod expression;

use anyhow::{Result, anyhow, bail};

use super::ast::{Expression, Method, Node, Reference, Root, Step, Util};
use super::path;

/// The deepest nesting of blocks, brackets and calls: the parser calls itself for each.
const MAX_DEPTH: usize = 50;

/// Parses a whole template.
///
/// # Errors
/// The error, with line and column.
pub(super) fn template(text: &str) -> Result<Vec<Node>> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let (nodes, ended_by) = parser.nodes()?;
    match ended_by {
        Terminator::EndOfText => Ok(nodes),
        _ => Err(parser.wrong("no #if or #foreach is open here")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// The end of a run of nodes. It has been read.
#[derive(PartialEq)]
enum Terminator {
    EndOfText,
    End,
    Else,
    ElseIf,
}

impl<'a> Parser<'a> {
    fn nodes(&mut self) -> Result<(Vec<Node>, Terminator)> {
        self.deeper()?;
        let mut nodes = Vec::new();
        let mut text = String::new();
        let ended_by = loop {
            let rest = self.rest();
            let special = rest.find(['$', '#', '\\']).unwrap_or(rest.len());
            text.push_str(&rest[..special]);
            self.at += special;
            let node = match self.peek() {
                None => break Terminator::EndOfText,
                Some('$') => self.reference()?.map(Node::Reference),
                Some('#') if self.comment()? => continue,
                Some('#') => match self.directive()? {
                    None => None,
                    Some(Directive::Node(node)) => Some(node),
                    Some(Directive::Terminator(terminator)) => break terminator,
                },
                Some(_) => {
                    if self.rest().starts_with("\\$") || self.rest().starts_with("\\#") {
                        return Err(self.wrong("an escaped $ or # does not run here"));
                    }
                    None
                }
            };
            match node {
                Some(node) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(std::mem::take(&mut text)));
                    }
                    nodes.push(node);
                }
                // Neither a directive nor a reference: the character is text.
                None => text.extend(self.next()),
            }
        };
        if !text.is_empty() {
            nodes.push(Node::Text(text));
        }
        self.depth -= 1;
        Ok((nodes, ended_by))
    }

    /// Skips `## …` and `#* … *#`.
    fn comment(&mut self) -> Result<bool> {
        let rest = self.rest();
        if rest.starts_with("##") {
            self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            Ok(true)
        } else if let Some(inside) = rest.strip_prefix("#*") {
            let Some(end) = inside.find("*#") else {
                return Err(self.wrong("the comment #* has no end *#"));
            };
            self.at += end + 4;
            Ok(true)
        } else if rest.starts_with("#[[") {
            Err(self.wrong("#[[ does not run here"))
        } else {
            Ok(false)
        }
    }

    /// Reads a directive; `None`, and nothing is read, if the `#` is only a character.
    fn directive(&mut self) -> Result<Option<Directive>> {
        let start = self.at;
        self.at += 1;
        let braced = self.eat("{");
        let name = self.identifier();
        if name.is_empty() || (braced && !self.eat("}")) {
            self.at = start;
            return Ok(None);
        }
        let directive = match name {
            "set" => self.set()?,
            "if" => self.if_()?,
            "foreach" => self.foreach()?,
            "end" => Directive::Terminator(Terminator::End),
            "else" => Directive::Terminator(Terminator::Else),
            "elseif" => Directive::Terminator(Terminator::ElseIf),
            "macro" | "define" | "parse" | "include" | "evaluate" | "break" | "stop" => {
                self.at = start;
                return Err(self.wrong(&format!("the directive #{name} does not run here")));
            }
            _ if self.peek() == Some('(') => {
                self.at = start;
                return Err(self.wrong(&format!("#{name} is not a directive")));
            }
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        // The condition of an #elseif follows; the #end of a block has been read.
        if matches!(
            directive,
            Directive::Node(Node::Set { .. })
                | Directive::Terminator(Terminator::End | Terminator::Else)
        ) {
            self.rest_of_line();
        }
        Ok(Some(directive))
    }

    /// Skips the end of the line after a directive: it is not part of the output.
    fn rest_of_line(&mut self) {
        let rest = self.rest();
        let blank = rest.trim_start_matches([' ', '\t', '\r']);
        if blank.starts_with('\n') {
            self.at += rest.len() - blank.len() + 1;
        }
    }

    fn set(&mut self) -> Result<Directive> {
        self.open("#set")?;
        let place = self.at;
        let Some(Reference {
            root: Root::Variable(name),
            steps,
        }) = self.reference()?
        else {
            self.at = place;
            return Err(self.wrong("#set needs a $name that is not one of the gateway's"));
        };
        if !steps.is_empty() || matches!(name.as_str(), "foreach" | "velocityCount") {
            self.at = place;
            return Err(self.wrong("#set sets a whole variable, not a part of one"));
        }
        self.blank();
        if self.rest().starts_with("==") || !self.eat("=") {
            return Err(self.wrong("#set needs a ="));
        }
        let value = self.expression()?;
        self.close()?;
        Ok(Directive::Node(Node::Set { name, value }))
    }

    fn if_(&mut self) -> Result<Directive> {
        let place = self.at;
        let mut branches = Vec::new();
        let otherwise = loop {
            self.open("#if")?;
            let condition = self.expression()?;
            self.close()?;
            self.rest_of_line();
            let (nodes, ended_by) = self.nodes()?;
            branches.push((condition, nodes));
            match ended_by {
                Terminator::End => break Vec::new(),
                Terminator::ElseIf => {}
                Terminator::Else => match self.nodes()? {
                    (nodes, Terminator::End) => break nodes,
                    _ => return Err(self.wrong("#else must be followed by #end")),
                },
                Terminator::EndOfText => {
                    self.at = place;
                    return Err(self.wrong("#if has no #end"));
                }
            }
        };
        Ok(Directive::Node(Node::If {
            branches,
            otherwise,
        }))
    }

    fn foreach(&mut self) -> Result<Directive> {
        let place = self.at;
        self.open("#foreach")?;
        let Some(Reference {
            root: Root::Variable(name),
            ..
        }) = self.reference()?
        else {
            return Err(self.wrong("#foreach needs ($name in …)"));
        };
        self.blank();
        if self.identifier() != "in" {
            return Err(self.wrong("#foreach needs ($name in …)"));
        }
        let over = self.expression()?;
        self.close()?;
        self.rest_of_line();
        match self.nodes()? {
            (body, Terminator::End) => Ok(Directive::Node(Node::Foreach { name, over, body })),
            _ => {
                self.at = place;
                Err(self.wrong("#foreach has no #end"))
            }
        }
    }

    /// Reads a reference; `None`, and nothing is read, if the `$` is only a character.
    fn reference(&mut self) -> Result<Option<Reference>> {
        let start = self.at;
        if !self.eat("$") {
            return Ok(None);
        }
        self.eat("!");
        let braced = self.eat("{");
        let name = self.identifier().to_owned();
        if name.is_empty() {
            self.at = start;
            return Ok(None);
        }
        let root = match name.as_str() {
            "context" => Root::Context,
            "stageVariables" => Root::StageVariables,
            "input" => self.input(start)?,
            "util" => self.util(start)?,
            _ => Root::Variable(name),
        };
        let mut steps = Vec::new();
        loop {
            if self.eat("[") {
                steps.push(Step::Index(self.expression()?));
                self.expect("]")?;
            } else if let Some(name) = self.property() {
                steps.push(match self.peek() {
                    Some('(') => self.method(name)?,
                    _ => Step::Property(name.to_owned()),
                });
            } else {
                break;
            }
        }
        if braced && !self.eat("}") {
            self.at = start;
            return Err(self.wrong("${ has no }"));
        }
        Ok(Some(Reference { root, steps }))
    }

    /// Reads `.name`. A full stop without a name ends a sentence of the text.
    fn property(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.eat(".") {
            let name = self.identifier();
            if !name.is_empty() {
                return Some(name);
            }
        }
        self.at = start;
        None
    }

    /// Reads the rest of a reference that began with `$input` at `place`.
    fn input(&mut self, place: usize) -> Result<Root> {
        match self.property() {
            Some("body") => Ok(Root::InputBody),
            Some(name @ ("json" | "path")) => {
                let argument = self.only_argument()?;
                if let Expression::Literal(literal) = &argument
                    && let Err(reason) = path::parse(literal.as_str().unwrap_or_default())
                {
                    self.at = place;
                    return Err(self.wrong(&reason));
                }
                let argument = Box::new(argument);
                Ok(match name {
                    "json" => Root::InputJson(argument),
                    _ => Root::InputPath(argument),
                })
            }
            _ => {
                self.at = place;
                Err(self.wrong("of $input, only body, json(…) and path(…) run here"))
            }
        }
    }

    /// Reads the rest of a reference that began with `$util` at `place`.
    fn util(&mut self, place: usize) -> Result<Root> {
        let function = match self.property() {
            Some("escapeJavaScript") => Util::EscapeJavaScript,
            Some("base64Encode") => Util::Base64Encode,
            Some("base64Decode") => Util::Base64Decode,
            Some("urlEncode") => Util::UrlEncode,
            Some("urlDecode") => Util::UrlDecode,
            Some("parseJson") => Util::ParseJson,
            _ => {
                self.at = place;
                return Err(self.wrong(
                    "of $util, only escapeJavaScript, base64Encode, base64Decode, urlEncode, urlDecode and parseJson run here",
                ));
            }
        };
        Ok(Root::Util(function, Box::new(self.only_argument()?)))
    }

    fn only_argument(&mut self) -> Result<Expression> {
        let place = self.at;
        let mut arguments = match self.peek() {
            Some('(') => self.arguments()?,
            _ => Vec::new(),
        };
        match (arguments.pop(), arguments.is_empty()) {
            (Some(argument), true) => Ok(argument),
            _ => {
                self.at = place;
                Err(self.wrong("expected one argument here"))
            }
        }
    }

    fn method(&mut self, name: &str) -> Result<Step> {
        let place = self.at;
        let (method, wanted) = match name {
            "contains" => (Method::Contains, 1),
            "containsKey" => (Method::ContainsKey, 1),
            "endsWith" => (Method::EndsWith, 1),
            "entrySet" => (Method::EntrySet, 0),
            "equals" => (Method::Equals, 1),
            "get" => (Method::Get, 1),
            "isEmpty" => (Method::IsEmpty, 0),
            "keySet" => (Method::KeySet, 0),
            "length" => (Method::Length, 0),
            "replace" => (Method::Replace, 2),
            "size" => (Method::Size, 0),
            "startsWith" => (Method::StartsWith, 1),
            "toLowerCase" => (Method::ToLowerCase, 0),
            "toString" => (Method::ToString, 0),
            "toUpperCase" => (Method::ToUpperCase, 0),
            "trim" => (Method::Trim, 0),
            "values" => (Method::Values, 0),
            _ => return Err(self.wrong(&format!("the method {name}() does not run here"))),
        };
        let arguments = self.arguments()?;
        if arguments.len() != wanted {
            self.at = place;
            return Err(self.wrong(&format!("{name}() takes {wanted} arguments")));
        }
        Ok(Step::Call(method, arguments))
    }

    fn open(&mut self, directive: &str) -> Result<()> {
        self.blank();
        if self.eat("(") {
            self.blank();
            return Ok(());
        }
        Err(self.wrong(&format!("{directive} needs a (")))
    }

    fn close(&mut self) -> Result<()> {
        self.expect(")")
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        self.blank();
        if self.eat(wanted) {
            return Ok(());
        }
        Err(self.wrong(&format!("expected a {wanted} here")))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let there = self.rest().starts_with(wanted);
        if there {
            self.at += wanted.len();
        }
        there
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Reads a name of Velocity, which may have hyphens; "" if there is none.
    fn identifier(&mut self) -> &'a str {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return "";
        }
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            bail!("the template nests too deeply");
        }
        Ok(())
    }

    fn wrong(&self, what: &str) -> anyhow::Error {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        anyhow!("line {line}, column {column}: {what}")
    }
}

enum Directive {
    Node(Node),
    Terminator(Terminator),
}
