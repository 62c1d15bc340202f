//! The last good metadata or key set in a file, for a start while the authorization server cannot be reached.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix_web::rt::task::spawn_blocking;
use aws_lc_rs::{
    digest::{Context, SHA256},
    rand,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{AuthError, AuthErrorKind, UpstreamFault},
    settings::Settings,
    telemetry::{Telemetry, log_throttle::LogThrottle},
};

/// The time by which the clock may have been ahead when a document was saved.
const CLOCK_TOLERANCE: i64 = 60;

/// The file of one document.
#[derive(Debug)]
pub(crate) struct SavedDocument {
    kind: &'static str,
    issuer: String,
    path: PathBuf,
    /// The maximum size of the file.
    max_size: u64,
    /// The maximum age of the document, in seconds.
    max_age: i64,
    telemetry: Arc<Telemetry>,
    warnings: LogThrottle,
}

/// The content of the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    issuer: String,
    /// The URL of a key set; empty for metadata, whose URL depends on the issuer.
    url: String,
    /// The time at which the request was sent, in seconds since 1970.
    fetched_at: i64,
    documents: Vec<String>,
}

/// A document of an earlier process.
#[derive(Debug)]
pub(crate) struct Restored<T> {
    pub(crate) content: T,
    /// The time on the monotonic clock from which it is not used.
    pub(crate) good_until: Duration,
    age: i64,
}

impl SavedDocument {
    /// Returns `None` if no directory is configured. `kind` is for the name of the file and for logs.
    pub(crate) fn new(kind: &'static str, settings: &Settings, telemetry: &Arc<Telemetry>) -> Option<Self> {
        let directory = settings.document_directory.as_ref()?;
        let issuer = settings.issuer.as_str();
        let url = settings.metadata_url.as_ref().map_or("", |url| &*url.text);
        // A document is at most six times as long as JSON text.
        let size = u64::try_from(settings.tuning.max_response_size).unwrap_or(u64::MAX);
        Some(Self {
            kind,
            issuer: issuer.to_owned(),
            path: directory.join(file_name(kind, issuer, url)),
            max_size: size.saturating_mul(12).saturating_add(4096),
            max_age: i64::try_from(settings.tuning.max_stale.as_secs()).unwrap_or(i64::MAX),
            telemetry: Arc::clone(telemetry),
            warnings: LogThrottle::default(),
        })
    }

    /// Saves a fetched document in the background.
    pub(crate) fn save(&self, url: &str, documents: Vec<String>, fetched_at: i64) {
        let content = Content { issuer: self.issuer.clone(), url: url.to_owned(), fetched_at, documents };
        let (path, max_size, issuer) = (self.path.clone(), self.max_size, self.issuer.clone());
        drop(spawn_blocking(move || {
            let saved = serde_json::to_vec(&content).map_err(io::Error::other).and_then(|bytes| {
                if u64::try_from(bytes.len()).is_ok_and(|length| length <= max_size) {
                    replace(&path, &bytes)
                } else {
                    Err(io::Error::other("the document is too large"))
                }
            });
            if let Err(error) = saved {
                let issuer = issuer.as_str();
                record!(
                    log::Level::Warn, event = "document_not_saved", issuer;
                    "{} cannot be written: {error} ({issuer})", path.display()
                );
            }
        }));
    }

    /// Returns the saved document after a failed fetch, if the server cannot be reached and the document is not too old.
    /// `read` validates it.
    pub(crate) async fn restore<T>(
        &self,
        error: &AuthError,
        url: &str,
        read: impl FnOnce(&[String]) -> Result<T, AuthError>,
    ) -> Option<Restored<T>> {
        use UpstreamFault::{Failing, TimedOut, Unreachable};

        if !matches!(error.kind(), AuthErrorKind::Upstream(Unreachable | TimedOut | Failing)) {
            return None;
        }
        let (path, max_size) = (self.path.clone(), self.max_size);
        let content = match spawn_blocking(move || load(&path, max_size)).await {
            Ok(Ok(content)) => content?,
            Ok(Err(problem)) => return self.refuse(&problem),
            Err(_) => return None,
        };
        let Content { issuer, url: saved_url, fetched_at, documents } = content;
        if issuer != self.issuer || saved_url != url {
            return self.refuse(&"it belongs to another issuer or URL");
        }
        let age = self.telemetry.clock.unix_time().saturating_sub(fetched_at);
        if age < -CLOCK_TOLERANCE {
            return self.refuse(&"its time is in the future");
        }
        let age = age.max(0);
        let time_left = u64::try_from(self.max_age.saturating_sub(age)).unwrap_or(0);
        if time_left == 0 {
            return self.refuse(&format!("it was fetched {age} s ago, expected at most {} s", self.max_age));
        }
        match read(&documents) {
            Ok(content) => {
                let good_until =
                    self.telemetry.clock.monotonic().saturating_add(Duration::from_secs(time_left));
                let restored = Restored { content, good_until, age };
                self.report(&restored);
                Some(restored)
            }
            Err(error) => self.refuse(&error.text()),
        }
    }

    fn report<T>(&self, restored: &Restored<T>) {
        let (issuer, call, age) = (self.issuer.as_str(), self.kind, restored.age);
        record!(
            log::Level::Warn, event = "document_restored", issuer, call, age;
            "the {} of {issuer} is used from {}, because the server cannot be reached: it was fetched {age} s ago",
            call.replace('_', " "), self.path.display()
        );
    }

    fn refuse<T>(&self, problem: &dyn std::fmt::Display) -> Option<T> {
        let level = self.warnings.level_at(self.telemetry.clock.monotonic(), log::Level::Warn);
        let (issuer, call) = (self.issuer.as_str(), self.kind);
        record!(
            level, event = "document_refused", issuer, call;
            "{} is not used: {problem} ({issuer})", self.path.display()
        );
        None
    }
}

/// Returns the name of a file. Configurations with one issuer and one metadata URL share it.
fn file_name(kind: &str, issuer: &str, url: &str) -> String {
    let mut context = Context::new(&SHA256);
    for part in [issuer, url] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let digest = digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    format!("{kind}-{digest:016x}.json")
}

/// Replaces a file, so that a reader sees either the old or the new content.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
    let temporary = path.with_extension(format!("{:016x}.tmp", u64::from_be_bytes(random)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Reads the content; `None` if there is no file.
fn load(path: &Path, max_size: u64) -> Result<Option<Content>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() || found.len() > max_size {
        return Err(format!("expected a regular file of at most {max_size} bytes"));
    }
    if is_writable_by_others(&found) {
        return Err("other users can write it".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(max_size).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let content = serde_json::from_slice(&bytes);
    content.map(Some).map_err(|_| "its content is not that of a saved document".to_owned())
}

#[cfg(unix)]
fn is_writable_by_others(found: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o022 != 0
}

#[cfg(not(unix))]
fn is_writable_by_others(_: &fs::Metadata) -> bool {
    false
}
