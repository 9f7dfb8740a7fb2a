//! The program `roomchat-admin`.

fn main() {}
