//! The sites at which a rule can act.

/// The place of an occurrence, and its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// The `$connect` invocation of a handshake.
    Connect,
    /// A client's message on its way to its function.
    Message,
    /// The `$disconnect` invocation.
    Disconnect,
    /// A message on its way to a client.
    Frame,
    /// PostToConnection.
    Post,
    /// GetConnection.
    Get,
    /// DeleteConnection.
    Delete,
    /// A DynamoDB call.
    Table,
    /// Any call that a function's process makes to `@connections` or to DynamoDB.
    Call,
}

impl Site {
    pub(crate) const ALL: [Site; 9] = [
        Site::Connect,
        Site::Message,
        Site::Disconnect,
        Site::Frame,
        Site::Post,
        Site::Get,
        Site::Delete,
        Site::Table,
        Site::Call,
    ];

    /// Returns the site's name in a rule.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Site::Connect => "connect",
            Site::Message => "message",
            Site::Disconnect => "disconnect",
            Site::Frame => "frame",
            Site::Post => "post",
            Site::Get => "get",
            Site::Delete => "delete",
            Site::Table => "table",
            Site::Call => "call",
        }
    }
}
