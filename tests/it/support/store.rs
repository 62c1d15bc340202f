//! A cache store of the application, which can fail.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_protect_api::cache::{CacheError, CacheFuture, CacheKey, CachedVerdict, IntrospectionCache};

/// Clones share the entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<BTreeMap<String, String>>,
    mode: Mutex<Mode>,
    calls: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Mode {
    #[default]
    Working,
    /// Each call fails with this message.
    Failing(&'static str),
    /// No call ends.
    Hanging,
}

impl Store {
    pub(crate) fn set_mode(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    /// The keys in hexadecimal, with the verdicts as JSON.
    pub(crate) fn entries(&self) -> BTreeMap<String, String> {
        self.0.entries.lock().unwrap().clone()
    }

    /// Writes this text over every verdict.
    pub(crate) fn replace_entries(&self, json: &str) {
        for entry in self.0.entries.lock().unwrap().values_mut() {
            json.clone_into(entry);
        }
    }

    /// How often the store was called.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    async fn call(&self) -> Result<(), CacheError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let mode = *self.0.mode.lock().unwrap();
        match mode {
            Mode::Working => Ok(()),
            Mode::Failing(message) => Err(CacheError::new(message)),
            Mode::Hanging => std::future::pending().await,
        }
    }
}

impl IntrospectionCache for Store {
    fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>> {
        Box::pin(async move {
            self.call().await?;
            let entry = self.0.entries.lock().unwrap().get(&key.to_hex()).cloned();
            entry.map(|json| serde_json::from_str(&json)).transpose().map_err(CacheError::new)
        })
    }

    fn set<'a>(&'a self, key: &'a CacheKey, value: &'a CachedVerdict, _: Duration) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            self.call().await?;
            let json = serde_json::to_string(value).map_err(CacheError::new)?;
            self.0.entries.lock().unwrap().insert(key.to_hex(), json);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            self.call().await?;
            self.0.entries.lock().unwrap().remove(&key.to_hex());
            Ok(())
        })
    }
}
