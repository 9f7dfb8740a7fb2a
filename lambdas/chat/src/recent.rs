//! A memory between invocations of one process: hints that save a read or a wait, and the counts of limits that hold
//! for each process. No promise depends on it. It ends with the process, and drops the least recently used entry when
//! it is full.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Entries by name. Cheap to clone: clones share the entries.
#[derive(Clone)]
pub(crate) struct Recent<T>(Arc<Mutex<LruCache<String, T>>>);

impl<T> Recent<T> {
    /// A memory of at most `most` entries.
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(most))))
    }

    /// Takes an entry out. The caller remembers it again if it is still true.
    pub(crate) fn take(&self, name: &str) -> Option<T> {
        self.lock().pop(name)
    }

    pub(crate) fn remember(&self, name: &str, hint: T) {
        self.lock().put(name.to_owned(), hint);
    }

    /// Changes the entry `name`. If there is none, `make` makes it first.
    pub(crate) fn change<R>(
        &self,
        name: &str,
        make: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> R {
        change(self.lock().get_or_insert_mut_ref(name, make))
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
