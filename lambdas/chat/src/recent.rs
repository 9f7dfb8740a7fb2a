//! What a process remembers from one invocation to the next: hints that save a read or a wait. They decide nothing; the
//! process forgets them when it ends, and what is least recently used when it knows too much.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Hints by a name. Cheap to clone: clones share them.
#[derive(Clone)]
pub(crate) struct Recent<T>(Arc<Mutex<LruCache<String, T>>>);

impl<T> Recent<T> {
    /// Room for so many.
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(most))))
    }

    /// Takes a hint out. Whoever finds it true remembers it again.
    pub(crate) fn take(&self, name: &str) -> Option<T> {
        self.lock().pop(name)
    }

    pub(crate) fn remember(&self, name: &str, hint: T) {
        self.lock().put(name.to_owned(), hint);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Recent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recent").finish()
    }
}
