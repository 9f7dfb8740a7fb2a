//! Identifies the process that makes a call: each process has its own access key id, and SDKs sign with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, header};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::faults::{FunctionName, Invocation};

/// The running processes, by access key id.
#[derive(Debug, Default)]
pub struct Callers {
    by_key: Mutex<HashMap<String, Arc<Caller>>>,
    given: AtomicU64,
}

/// A process of a function that makes calls.
#[derive(Debug)]
pub(crate) struct Caller {
    access_key_id: String,
    function_key: String,
    function_name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    group: Option<Pid>,
    invocation: Option<Arc<Invocation>>,
}

impl Callers {
    /// Registers a process before it is started.
    pub(crate) fn register(
        self: &Arc<Self>,
        function_key: &str,
        function_name: &str,
    ) -> Registered {
        let n = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        let caller = Arc::new(Caller {
            // Twenty characters, as in AWS's temporary credentials.
            access_key_id: format!("ASIALOCAL{n:011}"),
            function_key: function_key.to_owned(),
            function_name: function_name.to_owned(),
            state: Mutex::default(),
        });
        self.lock()
            .insert(caller.access_key_id.clone(), Arc::clone(&caller));
        Registered {
            caller,
            callers: Arc::clone(self),
        }
    }

    /// Returns the process that signed a request, if it is one of ours. The signature is not checked.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<Arc<Caller>> {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (_, scope) = authorization.split_once("Credential=")?;
        let (key, _) = scope.split_once('/')?;
        self.lock().get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Caller>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    pub(crate) fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    pub(crate) fn function(&self) -> FunctionName<'_> {
        FunctionName {
            key: &self.function_key,
            name: &self.function_name,
        }
    }

    /// Sets the process group, once it runs.
    pub(super) fn started(&self, group: Option<Pid>) {
        self.lock().group = group;
    }

    /// Notes that the process begins an invocation.
    pub(crate) fn begins(&self, request_id: &str) {
        self.lock().invocation = Some(Arc::new(Invocation::new(request_id)));
    }

    /// Notes that the process has asked for the next event.
    pub(crate) fn ends(&self) {
        self.lock().invocation = None;
    }

    /// Returns the invocation that the process works on.
    pub(crate) fn invocation(&self) -> Option<Arc<Invocation>> {
        self.lock().invocation.clone()
    }

    /// Kills the process and its children, as a crash would.
    pub(crate) fn kill(&self) {
        if let Some(group) = self.lock().group {
            // The process may have ended already.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered process. Its key is valid as long as this lives.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) caller: Arc<Caller>,
    callers: Arc<Callers>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The system may soon give its number to another process.
        self.caller.started(None);
        self.callers.lock().remove(&self.caller.access_key_id);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_key_until_it_ends() {
        let callers = Arc::new(Callers::default());
        let first = callers.register("publish", "roomchat-publish");
        let second = callers.register("publish", "roomchat-publish");
        let signed = |key: &str| {
            let value = format!(
                "AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/execute-api/aws4_request, SignedHeaders=host, Signature=00"
            );
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(value).unwrap())])
        };
        let found = |key: &str| callers.of(&signed(key)).map(|c| c.access_key_id.clone());
        for process in [&first, &second] {
            let key = process.caller.access_key_id();
            assert_eq!(found(key).as_deref(), Some(key));
        }
        let key = first.caller.access_key_id().to_owned();
        drop(first);
        assert_eq!(found(&key), None);
        assert_eq!(found("local"), None);
        assert!(callers.of(&HeaderMap::new()).is_none());
    }

    #[test]
    fn an_invocation_lasts_until_the_process_asks_for_the_next() {
        let callers = Arc::new(Callers::default());
        let process = callers.register("publish", "roomchat-publish");
        let caller = &process.caller;
        let request_id = || caller.invocation().map(|i| i.request_id.clone());
        assert_eq!(request_id(), None);
        caller.begins("a");
        assert_eq!(request_id().as_deref(), Some("a"));
        caller.ends();
        assert_eq!(request_id(), None);
        caller.begins("b");
        assert_eq!(request_id().as_deref(), Some("b"));
    }
}
