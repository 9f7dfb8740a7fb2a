//! The program of every function. Each folder here that has a `main.rs` is one.
//!
//! All functions are one program: to link it for a deployment takes more than a minute of processor time, for one function
//! as for twenty. Lambda tells the process in `_HANDLER` which function it is. Its value is the argument `handler` in
//! `terraform/functions.tf`, the name of the folder.

use std::process::ExitCode;

use anyhow::bail;
use chat::lambda;
use mimalloc::MiMalloc;

#[path = "admin/main.rs"]
mod admin;
#[path = "authorize/main.rs"]
mod authorize;
#[path = "connect/main.rs"]
mod connect;
#[path = "default/main.rs"]
mod default;
#[path = "deliver/main.rs"]
mod deliver;
#[path = "disconnect/main.rs"]
mod disconnect;
#[path = "history/main.rs"]
mod history;
#[path = "join/main.rs"]
mod join;
#[path = "leave/main.rs"]
mod leave;
#[path = "members/main.rs"]
mod members;
#[path = "moderate/main.rs"]
mod moderate;
#[path = "personal/main.rs"]
mod personal;
#[path = "publish/main.rs"]
mod publish;
#[path = "signal/main.rs"]
mod signal;

/// The SDK allocates some hundred times for a post: with the system's allocator a large room waits a tenth longer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let handler = std::env::var("_HANDLER").unwrap_or_default();
    lambda::main(function(&handler)).await
}

async fn function(handler: &str) -> anyhow::Result<()> {
    match handler {
        "admin" => admin::main().await,
        "authorize" => authorize::main().await,
        "connect" => connect::main().await,
        "default" => default::main().await,
        "deliver" => deliver::main().await,
        "disconnect" => disconnect::main().await,
        "history" => history::main().await,
        "join" => join::main().await,
        "leave" => leave::main().await,
        "members" => members::main().await,
        "moderate" => moderate::main().await,
        "personal" => personal::main().await,
        "publish" => publish::main().await,
        "signal" => signal::main().await,
        other => bail!(
            "_HANDLER is {other:?}, which is not a function: it must be the name of a folder of lambdas/"
        ),
    }
}
