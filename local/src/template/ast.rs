//! The nodes of a parsed template.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Reference(Reference),
    Set {
        name: String,
        value: Expression,
    },
    If {
        /// The branches of an `#if`, each with its condition: the `#if`, then the `#elseif`s.
        branches: Vec<(Expression, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Foreach {
        name: String,
        over: Expression,
        body: Vec<Node>,
    },
}

/// `$name.property.method(arguments)[index]`, in any of its spellings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    pub(super) root: Root,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Root {
    Context,
    StageVariables,
    InputBody,
    /// `$input.json(path)`
    InputJson(Box<Expression>),
    /// `$input.path(path)`
    InputPath(Box<Expression>),
    /// `$util.name(argument)`
    Util(Util, Box<Expression>),
    /// A variable of `#set` or `#foreach`.
    Variable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Util {
    EscapeJavaScript,
    Base64Encode,
    Base64Decode,
    UrlEncode,
    UrlDecode,
    ParseJson,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Property(String),
    Index(Expression),
    Call(Method, Vec<Expression>),
}

/// The methods of Java's strings, lists and maps that templates use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Contains,
    ContainsKey,
    EndsWith,
    EntrySet,
    Equals,
    Get,
    IsEmpty,
    KeySet,
    Length,
    Replace,
    Size,
    StartsWith,
    ToLowerCase,
    ToString,
    ToUpperCase,
    Trim,
    Values,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    /// A double-quoted string, in which references are filled in.
    Text(Vec<Node>),
    Reference(Reference),
    List(Vec<Expression>),
    Map(Vec<(Expression, Expression)>),
    /// `[from..to]`, both ends included.
    Range(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}
