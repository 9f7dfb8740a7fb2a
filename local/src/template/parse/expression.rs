//! The expressions inside of directives, brackets and calls.

use anyhow::Result;
use serde_json::Value;

use super::super::ast::{Expression, Operator};
use super::{Parser, Terminator};

/// The operators of each level, the loosest first, in their two spellings.
const LEVELS: [&[(&str, &str, Operator)]; 6] = [
    &[("||", "or", Operator::Or)],
    &[("&&", "and", Operator::And)],
    &[
        ("==", "eq", Operator::Equal),
        ("!=", "ne", Operator::NotEqual),
    ],
    &[
        ("<=", "le", Operator::LessOrEqual),
        (">=", "ge", Operator::GreaterOrEqual),
        ("<", "lt", Operator::Less),
        (">", "gt", Operator::Greater),
    ],
    &[("+", "+", Operator::Add), ("-", "-", Operator::Subtract)],
    &[
        ("*", "*", Operator::Multiply),
        ("/", "/", Operator::Divide),
        ("%", "%", Operator::Remainder),
    ],
];

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expression> {
        self.deeper()?;
        let expression = self.level(0)?;
        self.depth -= 1;
        Ok(expression)
    }

    fn level(&mut self, level: usize) -> Result<Expression> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.level(level + 1)?;
        // Each operator makes the tree one level deeper, and rendering is recursive.
        let before = self.depth;
        while let Some(operator) = self.operator(operators) {
            self.deeper()?;
            let right = self.level(level + 1)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth = before;
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, &str, Operator)]) -> Option<Operator> {
        self.blank();
        for (sign, word, operator) in operators {
            if self.eat(sign) {
                return Some(*operator);
            }
            let start = self.at;
            if self.identifier() == *word {
                return Some(*operator);
            }
            self.at = start;
        }
        None
    }

    fn unary(&mut self) -> Result<Expression> {
        self.blank();
        let start = self.at;
        let negated = self.eat("!") || self.identifier() == "not";
        if !negated {
            self.at = start;
            return self.primary();
        }
        self.deeper()?;
        let inner = self.unary()?;
        self.depth -= 1;
        Ok(Expression::Not(Box::new(inner)))
    }

    fn primary(&mut self) -> Result<Expression> {
        match self.peek() {
            Some('$') => match self.reference()? {
                Some(reference) => Ok(Expression::Reference(reference)),
                None => Err(self.wrong("a $ without a name")),
            },
            Some('(') => {
                self.at += 1;
                let inner = self.expression()?;
                self.close()?;
                Ok(inner)
            }
            Some('[') => self.list(),
            Some('{') => self.map(),
            Some('\'') => Ok(Expression::Literal(self.quoted('\'')?.into())),
            Some('"') => self.interpolated(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            _ => {
                let start = self.at;
                match self.identifier() {
                    "true" => Ok(Expression::Literal(true.into())),
                    "false" => Ok(Expression::Literal(false.into())),
                    _ => {
                        self.at = start;
                        Err(self.wrong("expected an expression here"))
                    }
                }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<&str> {
        let inside = &self.rest()[1..];
        let Some(end) = inside.find(quote) else {
            return Err(self.wrong(&format!("the string has no end {quote}")));
        };
        self.at += end + 2;
        Ok(&inside[..end])
    }

    /// Reads a string with references.
    fn interpolated(&mut self) -> Result<Expression> {
        let start = self.at;
        let end = start + 1 + self.quoted('"')?.len();
        // The same text, so that an error inside has its position.
        let mut inner = Parser {
            text: &self.text[..end],
            at: start + 1,
            depth: self.depth,
        };
        match inner.nodes()? {
            (nodes, Terminator::EndOfText) => Ok(Expression::Text(nodes)),
            _ => Err(inner.wrong("no #if or #foreach is open here")),
        }
    }

    fn number(&mut self) -> Result<Expression> {
        let rest = self.rest();
        let digits = |from: usize| {
            let text = &rest[from..];
            from + text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len())
        };
        let mut end = digits(usize::from(rest.starts_with('-')));
        // Two full stops belong to a range.
        if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit())
        {
            end = digits(end + 1);
        }
        let text = &rest[..end];
        let value: Option<Value> = match text.parse::<i64>() {
            Ok(number) => Some(number.into()),
            Err(_) => serde_json::from_str(text).ok(),
        };
        let Some(value) = value else {
            return Err(self.wrong("expected a number"));
        };
        self.at += end;
        Ok(Expression::Literal(value))
    }

    fn list(&mut self) -> Result<Expression> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.eat("]") {
            return Ok(Expression::List(items));
        }
        loop {
            items.push(self.expression()?);
            self.blank();
            if items.len() == 1 && self.eat("..") {
                let to = self.expression()?;
                self.expect("]")?;
                let from = items.remove(0);
                return Ok(Expression::Range(Box::new(from), Box::new(to)));
            }
            if !self.eat(",") {
                self.expect("]")?;
                return Ok(Expression::List(items));
            }
        }
    }

    fn map(&mut self) -> Result<Expression> {
        self.at += 1;
        let mut entries = Vec::new();
        self.blank();
        if self.eat("}") {
            return Ok(Expression::Map(entries));
        }
        loop {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            self.blank();
            if !self.eat(",") {
                self.expect("}")?;
                return Ok(Expression::Map(entries));
            }
        }
    }

    pub(super) fn arguments(&mut self) -> Result<Vec<Expression>> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        self.blank();
        if self.eat(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            self.blank();
            if !self.eat(",") {
                self.close()?;
                return Ok(arguments);
            }
        }
    }
}
