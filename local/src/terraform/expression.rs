//! Evaluates Terraform's expressions and templates.
//!
//! An expression that needs a value only AWS knows is an error with that cause, see [`Problem`]. Inside a list or map
//! such an error becomes [`Value::Unknown`], so that the other elements stay known.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use bigdecimal::{BigDecimal, Zero as _};
use hcl_edit::expr::{
    BinaryOperator, Expression, ForExpr, FuncCall, Object, ObjectKey, TraversalOperator,
    UnaryOperator,
};
use hcl_edit::template::{Directive, Element, Strip, Template};
use hcl_edit::{Number, Span as _};

use super::functions::{self, Arguments};
use super::problem::{Place, Problem};
use super::value::{Map, Outcome, Value, known, parse_number};

/// A file of HCL.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the Terraform folder.
    pub(super) name: Rc<str>,
    pub(super) text: String,
}

/// A step of a reference: `.name`, or `[key]`.
#[derive(Debug)]
pub(super) enum Step {
    Name(String),
    Key(Value),
}

/// The names that references use.
pub(super) trait Names {
    /// The value at the beginning of a reference, and the number of steps to it. `None` for an unknown root.
    fn resolve(&self, root: &str, steps: &[Step]) -> Result<Option<(Value, usize)>, Problem>;

    /// The folder that relative paths start from.
    fn folder(&self) -> &Path;
}

/// The names and the file of an expression.
pub(super) struct Scope<'a> {
    pub(super) names: &'a dyn Names,
    pub(super) file: &'a File,
    /// `each`, `count` and the variables of `for`; a later one hides an earlier one.
    pub(super) own: Vec<(String, Value)>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(names: &'a dyn Names, file: &'a File) -> Scope<'a> {
        Scope {
            names,
            file,
            own: Vec::new(),
        }
    }

    /// The scope with one more name.
    pub(super) fn with(&self, name: &str, value: Value) -> Scope<'a> {
        let mut own = self.own.clone();
        own.push((name.to_owned(), value));
        Scope { own, ..*self }
    }

    /// Evaluates the expression of an argument, local, output or entry. A problem is given this place.
    pub(super) fn evaluate(&self, expression: &Expression) -> Outcome {
        self.value(expression)
            .map_err(|problem| problem.at(|| self.place(expression)))
    }

    pub(super) fn place(&self, expression: &Expression) -> Place {
        self.file.place(expression)
    }

    fn value(&self, expression: &Expression) -> Outcome {
        match expression {
            Expression::Null(_) => Ok(Value::Null),
            Expression::Bool(truth) => Ok(Value::Bool(*truth.value())),
            Expression::Number(number) => number_of(number.value()),
            Expression::String(text) => Ok(text.value().as_str().into()),
            Expression::Array(values) => Ok(values.iter().map(|value| self.entry(value)).collect()),
            Expression::Object(object) => self.object(object),
            Expression::StringTemplate(template) => self.template(template, Form::Quoted),
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template, Form::Lines),
            Expression::Parenthesis(inner) => self.value(inner.inner()),
            Expression::Variable(name) => self.reference(name.as_str(), &[]),
            Expression::Traversal(traversal) => match &traversal.expr {
                Expression::Variable(name) => self.reference(name.as_str(), &traversal.operators),
                other => self.traverse(self.value(other)?, &traversal.operators),
            },
            Expression::FuncCall(call) => self.call(call),
            Expression::Conditional(conditional) => self.conditional(conditional),
            Expression::UnaryOp(operation) => {
                let value = self.value(&operation.expr)?;
                Ok(match operation.operator.value() {
                    UnaryOperator::Not => Value::Bool(!truth(&value)?),
                    UnaryOperator::Neg => Value::Number(-number(&value)?),
                })
            }
            Expression::BinaryOp(operation) => self.binary(
                &operation.lhs_expr,
                *operation.operator.value(),
                &operation.rhs_expr,
            ),
            Expression::ForExpr(each) => self.for_expression(each),
        }
    }

    /// The value of an element or entry; unknown if it cannot be evaluated.
    fn entry(&self, expression: &Expression) -> Value {
        self.evaluate(expression)
            .unwrap_or_else(|problem| Value::Unknown(Rc::new(problem)))
    }

    fn object(&self, object: &Object) -> Outcome {
        let mut map = Map::new();
        for (key, value) in object {
            let key = match key {
                ObjectKey::Ident(name) => name.to_string(),
                // A name alone is a string; Terraform wants parentheses around a reference.
                ObjectKey::Expression(Expression::Variable(name)) => name.to_string(),
                ObjectKey::Expression(expression) => text(&self.value(expression)?)?,
            };
            map.insert(key, self.entry(value.expr()));
        }
        Ok(map.into())
    }

    fn conditional(&self, conditional: &hcl_edit::expr::Conditional) -> Outcome {
        let is_true = truth(&self.value(&conditional.cond_expr)?)?;
        let (taken, other) = if is_true {
            (&conditional.true_expr, &conditional.false_expr)
        } else {
            (&conditional.false_expr, &conditional.true_expr)
        };
        let value = self.value(taken)?;
        Ok(match self.value(other) {
            Ok(other) => unified(value, &other),
            Err(_) => value,
        })
    }

    fn binary(&self, left: &Expression, operator: BinaryOperator, right: &Expression) -> Outcome {
        use BinaryOperator as Op;
        let (left, right) = (self.value(left), self.value(right));
        // One operand may decide although the other is unknown.
        if let Op::And | Op::Or = operator {
            let decisive = operator == Op::Or;
            let (left, right) = (left.and_then(|v| truth(&v)), right.and_then(|v| truth(&v)));
            return Ok(Value::Bool(
                if left == Ok(decisive) || right == Ok(decisive) {
                    decisive
                } else {
                    left?;
                    right?
                },
            ));
        }
        let (left, right) = (left?, right?);
        match operator {
            Op::Eq | Op::NotEq => {
                // A value with unknown parts is not equal to null.
                if let (false, false, Some(problem)) = (
                    left.is_null(),
                    right.is_null(),
                    left.unknown().or(right.unknown()),
                ) {
                    return Err(Problem::clone(problem));
                }
                Ok(Value::Bool((left == right) == (operator == Op::Eq)))
            }
            _ => arithmetic(&number(&left)?, operator, &number(&right)?),
        }
    }

    fn for_expression(&self, each: &ForExpr) -> Outcome {
        let intro = &each.intro;
        let collection = self.value(&intro.collection_expr)?;
        let mut values = Vec::new();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (key, value) in iterate(&collection)? {
            let mut scope = self.with(intro.value_var.as_str(), value);
            if let Some(name) = &intro.key_var {
                scope = scope.with(name.as_str(), key);
            }
            if let Some(condition) = &each.cond
                && !truth(&scope.value(&condition.expr)?)?
            {
                continue;
            }
            let value = scope.entry(&each.value_expr);
            match &each.key_expr {
                None => values.push(value),
                Some(key) => {
                    let key = text(&scope.value(key)?)?;
                    let group = groups.entry(key.clone()).or_default();
                    if !group.is_empty() && !each.grouping {
                        return Err(Problem::invalid(format!(
                            "the `for` expression makes the key \"{key}\" twice"
                        )));
                    }
                    group.push(value);
                }
            }
        }
        if each.key_expr.is_none() {
            return Ok(values.into());
        }
        let entries = groups.into_iter().map(|(key, mut group)| {
            let value = if each.grouping {
                Value::from(group)
            } else {
                group.pop().unwrap_or(Value::Null)
            };
            (key, value)
        });
        Ok(entries.collect::<Map>().into())
    }

    /// The value of `root` and what follows it.
    fn reference(
        &self,
        root: &str,
        operators: &[hcl_edit::Decorated<TraversalOperator>],
    ) -> Outcome {
        if let Some((_, value)) = self.own.iter().rev().find(|(name, _)| name == root) {
            return self.traverse(known(value.clone())?, operators);
        }
        // Only the steps before the first splat may name an object of the module.
        let mut steps = Vec::new();
        for operator in operators {
            steps.push(match operator.value() {
                TraversalOperator::GetAttr(name) => Step::Name(name.to_string()),
                TraversalOperator::Index(key) => Step::Key(self.value(key)?),
                TraversalOperator::LegacyIndex(index) => {
                    Step::Key(BigDecimal::from(*index.value()).into())
                }
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => break,
            });
        }
        match self.names.resolve(root, &steps)? {
            Some((value, used)) => {
                self.traverse(known(value)?, operators.get(used..).unwrap_or_default())
            }
            None => Err(Problem::invalid(format!("there is no \"{root}\""))),
        }
    }

    fn traverse(
        &self,
        mut value: Value,
        operators: &[hcl_edit::Decorated<TraversalOperator>],
    ) -> Outcome {
        for (index, operator) in operators.iter().enumerate() {
            value = match operator.value() {
                TraversalOperator::GetAttr(name) => attribute(&value, name.as_str())?,
                TraversalOperator::Index(key) => element(&value, &self.value(key)?)?,
                TraversalOperator::LegacyIndex(index) => {
                    element(&value, &BigDecimal::from(*index.value()).into())?
                }
                splat @ (TraversalOperator::FullSplat(_) | TraversalOperator::AttrSplat(_)) => {
                    let rest = &operators[index + 1..];
                    // `.*` ends at the first index; `[*]` takes all that follows.
                    let end = match splat {
                        TraversalOperator::AttrSplat(_) => rest
                            .iter()
                            .position(|o| !matches!(o.value(), TraversalOperator::GetAttr(_))),
                        _ => None,
                    };
                    let (own, rest) = rest.split_at(end.unwrap_or(rest.len()));
                    let values = match (&value, value.elements()) {
                        (_, Some(values)) => values.to_vec(),
                        (Value::Null, None) => Vec::new(),
                        (_, None) => vec![value.clone()],
                    };
                    let each = |value| {
                        known(value)
                            .and_then(|value| self.traverse(value, own))
                            .or_else(|problem| match problem.is_invalid() {
                                true => Err(problem),
                                false => Ok(Value::Unknown(Rc::new(problem))),
                            })
                    };
                    let values = values.into_iter().map(each).collect::<Result<Value, _>>()?;
                    return self.traverse(values, rest);
                }
            };
        }
        Ok(value)
    }

    fn call(&self, call: &FuncCall) -> Outcome {
        let name = call.name.name.as_str();
        let namespace = call.name.namespace.first().map(|name| name.as_str());
        let fail = |error: String| Problem::invalid(format!("{name}: {error}"));
        if !matches!(namespace, None | Some("core")) {
            let names: Vec<&str> = call.name.namespace.iter().map(|n| n.as_str()).collect();
            let name = format!("{}::{name}", names.join("::"));
            return Err(Problem::invalid(format!(
                "the function {name} does not run here"
            )));
        }
        match name {
            "try" => {
                let mut last = None;
                for argument in call.args.iter() {
                    match self.attempt(argument) {
                        Err(problem) if problem.is_invalid() => last = Some(problem),
                        outcome => return outcome,
                    }
                }
                return Err(last.unwrap_or_else(|| fail("it has no arguments".to_owned())));
            }
            "can" => {
                let argument = call.args.iter().next();
                let argument = argument.ok_or_else(|| fail("it has no argument".to_owned()))?;
                return match self.attempt(argument) {
                    Err(problem) if !problem.is_invalid() => Err(problem),
                    outcome => Ok(Value::Bool(outcome.is_ok())),
                };
            }
            _ => {}
        }
        let mut values = Vec::new();
        for argument in call.args.iter() {
            values.push(self.value(argument)?);
        }
        if call.args.expand_final()
            && let Some(last) = values.pop()
        {
            let expanded = last
                .elements()
                .ok_or_else(|| fail("what `...` expands must be a list".to_owned()))?;
            for value in expanded.iter() {
                values.push(known(value.clone())?);
            }
        }
        let arguments = Arguments {
            values,
            folder: self.names.folder(),
        };
        match name {
            "templatefile" => {
                let path = arguments.string(0).map_err(fail)?;
                let template = arguments.read(&path).map_err(fail)?;
                let variables = arguments.map(1).map_err(fail)?;
                render(&path, template, &variables, arguments.folder)
            }
            "templatestring" => {
                let template = arguments.string(0).map_err(fail)?;
                let variables = arguments.map(1).map_err(fail)?;
                render(name, template, &variables, arguments.folder)
            }
            _ => functions::call(name, &arguments),
        }
    }

    /// Evaluates an argument of `try` or `can`: an error inside a list or map fails, too.
    fn attempt(&self, argument: &Expression) -> Outcome {
        let value = self.value(argument)?;
        match value.unknown() {
            Some(problem) if problem.is_invalid() => Err(Problem::clone(problem)),
            _ => Ok(value),
        }
    }

    fn template(&self, template: &Template, form: Form) -> Outcome {
        // An interpolation alone keeps its type.
        if let Some(Element::Interpolation(only)) = template.as_single_element() {
            return self.value(&only.expr);
        }
        let mut out = String::new();
        self.write(template, form, (false, false), &mut out)?;
        Ok(out.into())
    }

    /// Writes a template's text. `strips` says whether a `~` before it and after it removes blanks.
    fn write(
        &self,
        template: &Template,
        form: Form,
        strips: (bool, bool),
        out: &mut String,
    ) -> Result<(), Problem> {
        let elements: Vec<&Element> = template.iter().collect();
        for (index, element) in elements.iter().enumerate() {
            match element {
                Element::Literal(literal) => {
                    let before = index.checked_sub(1).and_then(|before| elements.get(before));
                    let after = elements.get(index + 1);
                    let start = before.map_or(strips.0, |element| strips_of(element).1);
                    let end = after.map_or(strips.1, |element| strips_of(element).0);
                    out.push_str(form.strip(literal, start, end));
                }
                Element::Interpolation(inner) => out.push_str(&text(&self.value(&inner.expr)?)?),
                Element::Directive(directive) => self.directive(directive, form, out)?,
            }
        }
        Ok(())
    }

    fn directive(
        &self,
        directive: &Directive,
        form: Form,
        out: &mut String,
    ) -> Result<(), Problem> {
        let between = |before: Strip, after: Strip| (before.strip_end(), after.strip_start());
        match directive {
            Directive::If(directive) => {
                let (start, end) = (&directive.if_expr, directive.endif_expr.strip);
                let is_true = truth(&self.value(&start.cond_expr)?)?;
                match &directive.else_expr {
                    _ if is_true => {
                        let end = directive
                            .else_expr
                            .as_ref()
                            .map_or(end, |other| other.strip);
                        self.write(&start.template, form, between(start.strip, end), out)
                    }
                    Some(other) => {
                        self.write(&other.template, form, between(other.strip, end), out)
                    }
                    None => Ok(()),
                }
            }
            Directive::For(directive) => {
                let (each, end) = (&directive.for_expr, directive.endfor_expr.strip);
                for (key, value) in iterate(&self.value(&each.collection_expr)?)? {
                    let mut scope = self.with(each.value_var.as_str(), value);
                    if let Some(name) = &each.key_var {
                        scope = scope.with(name.as_str(), key);
                    }
                    scope.write(&each.template, form, between(each.strip, end), out)?;
                }
                Ok(())
            }
        }
    }
}

/// Renders the text of a template, which sees the variables and nothing else.
pub(crate) fn render(name: &str, text: String, variables: &Map, folder: &Path) -> Outcome {
    let template: Template = text
        .parse()
        .map_err(|error| Problem::invalid(format!("{name} is not a template: {error}")))?;
    let file = File {
        name: name.into(),
        text,
    };
    let names = NoNames(folder);
    let mut scope = Scope::new(&names, &file);
    let variables = variables.iter();
    scope.own = variables
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    scope.template(&template, Form::Lines)
}

/// The form of a template, which decides how much a `~` removes.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Between quotes: every blank and line break.
    Quoted,
    /// A heredoc or a file: no more than the line.
    Lines,
}

impl Form {
    fn strip(self, text: &str, start: bool, end: bool) -> &str {
        let mut text = text;
        if start {
            let line = match self {
                Form::Quoted => text.len(),
                Form::Lines => text.find('\n').map_or(text.len(), |at| at + 1),
            };
            let kept = text[..line].trim_start().len();
            text = &text[line - kept..];
        }
        if end {
            let line = match self {
                Form::Quoted => 0,
                Form::Lines => {
                    let before = text.strip_suffix('\n').unwrap_or(text);
                    before.rfind('\n').map_or(0, |at| at + 1)
                }
            };
            let kept = text[line..].trim_end().len();
            text = &text[..line + kept];
        }
        text
    }
}

impl File {
    fn place(&self, expression: &Expression) -> Place {
        let span = expression.span().unwrap_or_default();
        let text = self.text.get(span.clone()).unwrap_or_default();
        Place {
            file: Rc::clone(&self.name),
            line: self.line(span.start),
            expression: text.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// The number of the line at that byte.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        before.matches('\n').count() + 1
    }
}

/// No names: for templates and files of variables, whose expressions refer to nothing.
pub(super) struct NoNames<'a>(pub(super) &'a Path);

impl Names for NoNames<'_> {
    fn resolve(&self, _: &str, _: &[Step]) -> Result<Option<(Value, usize)>, Problem> {
        Ok(None)
    }

    fn folder(&self) -> &Path {
        self.0
    }
}

/// The keys and values that `for` and `for_each` run over.
pub(super) fn iterate(value: &Value) -> Result<Vec<(Value, Value)>, Problem> {
    match value {
        Value::List(values) => Ok(values
            .iter()
            .enumerate()
            .map(|(index, value)| (index.into(), value.clone()))
            .collect()),
        Value::Set(values) => Ok(values.iter().map(|v| (v.clone(), v.clone())).collect()),
        other => match other.entries() {
            Some(map) => Ok(map
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.clone()))
                .collect()),
            None => Err(Problem::invalid(format!(
                "expected a list, a set or a map, and the value is {}",
                other.kind()
            ))),
        },
    }
}

fn attribute(value: &Value, name: &str) -> Outcome {
    match (value, value.entries()) {
        (_, Some(map)) if map.contains_key(name) => {
            known(map.get(name).cloned().unwrap_or(Value::Null))
        }
        (Value::Resource { address, .. }, _) => Err(Problem::new(super::problem::Cause::Cloud(
            format!("{address}.{name}"),
        ))),
        (_, Some(_)) => Err(Problem::invalid(format!(
            "the object has no attribute \"{name}\""
        ))),
        _ => Err(Problem::invalid(format!(
            "{} has no attribute \"{name}\"",
            value.kind()
        ))),
    }
}

fn element(value: &Value, key: &Value) -> Outcome {
    match value.elements() {
        Some(values) => {
            let index = key.as_u64().and_then(|index| usize::try_from(index).ok());
            let found = index.and_then(|index| values.get(index));
            let found = found.ok_or_else(|| {
                Problem::invalid(format!(
                    "the list of {} elements has no element {}",
                    values.len(),
                    key.to_json()
                ))
            })?;
            known(found.clone())
        }
        None => attribute(value, &text(key)?),
    }
}

fn arithmetic(left: &BigDecimal, operator: BinaryOperator, right: &BigDecimal) -> Outcome {
    use BinaryOperator as Op;
    if matches!(operator, Op::Div | Op::Mod) && right.is_zero() {
        return Err(Problem::invalid("division by zero"));
    }
    Ok(match operator {
        Op::Plus => Value::Number(left + right),
        Op::Minus => Value::Number(left - right),
        Op::Mul => Value::Number(left * right),
        Op::Div => Value::Number(left / right),
        Op::Mod => Value::Number(left % right),
        Op::Less => Value::Bool(left < right),
        Op::LessEq => Value::Bool(left <= right),
        Op::Greater => Value::Bool(left > right),
        Op::GreaterEq => Value::Bool(left >= right),
        Op::Eq => Value::Bool(left == right),
        Op::NotEq => Value::Bool(left != right),
        Op::And | Op::Or => Value::Null,
    })
}

fn number_of(number: &Number) -> Outcome {
    parse_number(&number.to_string())
        .map(Value::Number)
        .ok_or_else(|| Problem::invalid(format!("{number} is too large")))
}

fn number(value: &Value) -> Result<BigDecimal, Problem> {
    value.as_number().ok_or_else(|| {
        Problem::invalid(format!(
            "expected a number, and the value is {}",
            value.kind()
        ))
    })
}

fn truth(value: &Value) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| {
        Problem::invalid(format!(
            "expected a boolean, and the value is {}",
            value.kind()
        ))
    })
}

fn text(value: &Value) -> Result<String, Problem> {
    value.text().map_err(Problem::invalid)
}

/// Tells if a `~` of the element removes the blanks before the element, and those after it.
fn strips_of(element: &Element) -> (bool, bool) {
    let (start, end) = match element {
        Element::Literal(_) => return (false, false),
        Element::Interpolation(inner) => (inner.strip, inner.strip),
        Element::Directive(directive) => match &**directive {
            Directive::If(directive) => (directive.if_expr.strip, directive.endif_expr.strip),
            Directive::For(directive) => (directive.for_expr.strip, directive.endfor_expr.strip),
        },
    };
    (start.strip_start(), end.strip_end())
}

/// A result of a conditional in the type that both results have: beside strings, numbers and booleans become strings.
fn unified(value: Value, other: &Value) -> Value {
    let is_plain = |v: &Value| matches!(v, Value::String(_) | Value::Number(_) | Value::Bool(_));
    match (&value, other) {
        (Value::Number(_) | Value::Bool(_), Value::String(_)) => {
            value.text().map_or(value, Value::from)
        }
        (Value::List(values), Value::List(others)) if !values.is_empty() => {
            let all = || values.iter().chain(others.iter());
            match all().find(|v| v.as_str().is_some()) {
                Some(text) if all().all(is_plain) => {
                    values.iter().map(|v| unified(v.clone(), text)).collect()
                }
                _ => value,
            }
        }
        (Value::Object(map), Value::Object(others)) => {
            let entry = |(key, value): (&String, &Value)| {
                let other = others.get(key).unwrap_or(&Value::Null);
                (key.clone(), unified(value.clone(), other))
            };
            map.iter().map(entry).collect::<Map>().into()
        }
        _ => value,
    }
}
