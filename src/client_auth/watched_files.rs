//! Files that are loaded again when they change, because secrets and certificates are rotated while the process
//! runs.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use zeroize::Zeroizing;

/// The interval between two checks of the files.
pub(super) const RECHECK: Duration = Duration::from_secs(1);

/// The largest file that is read. Certificate chains have a few KiB, secrets less.
const MAX_FILE: u64 = 1024 * 1024;

/// The content of one file, wiped when dropped.
pub(crate) type Content = Zeroizing<Vec<u8>>;

/// A value made from files, and made again when their content changes.
///
/// The files are read at most once per interval, and only when the value is used. Their content is compared, not
/// the time of modification, so copies that keep times, and two writes within one tick of the file system's clock,
/// are detected. If a file cannot be read or used any more, the last good value is used and one warning is logged.
pub(super) struct WatchedFiles<T> {
    paths: Box<[PathBuf]>,
    make: fn(&[Content]) -> Result<T, String>,
    every: Duration,
    current: ArcSwapOption<T>,
    last_read: Mutex<LastRead>,
}

/// The result of the last read.
#[derive(Default)]
struct LastRead {
    at: Option<Instant>,
    tried: Option<(Digest, Result<(), String>)>,
    failing: bool,
}

impl<T> WatchedFiles<T> {
    pub(super) fn new(
        paths: impl Into<Box<[PathBuf]>>,
        every: Duration,
        make: fn(&[Content]) -> Result<T, String>,
    ) -> Self {
        Self {
            paths: paths.into(),
            make,
            every,
            current: ArcSwapOption::empty(),
            last_read: Mutex::default(),
        }
    }

    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns the value of the last read, which is not older than the interval. Fails only if there has never been
    /// a good value. The error names the file and contains no part of its content.
    pub(super) fn get(&self) -> Result<Arc<T>, String> {
        let current = self.current.load_full();
        let mut last_read = match (self.last_read.try_lock(), &current) {
            (Ok(last_read), _) => last_read,
            (Err(TryLockError::Poisoned(poisoned)), _) => poisoned.into_inner(),
            // Another thread is reading; the current value is recent enough.
            (Err(TryLockError::WouldBlock), Some(current)) => return Ok(Arc::clone(current)),
            (Err(TryLockError::WouldBlock), None) => {
                self.last_read.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        match (self.current.load_full(), last_read.at) {
            (Some(current), Some(at)) if at.elapsed() < self.every => Ok(current),
            (current, _) => self.refresh(&mut last_read, current),
        }
    }

    fn refresh(&self, last_read: &mut LastRead, current: Option<Arc<T>>) -> Result<Arc<T>, String> {
        last_read.at = Some(Instant::now());
        match (self.reload(last_read), current) {
            (Ok(fresh), current) => {
                if last_read.failing {
                    last_read.failing = false;
                    record!(log::Level::Info, event = "credential_renewed"; "{self:?} can be used again");
                }
                fresh.or(current).ok_or_else(|| format!("{self:?} was not read"))
            }
            (Err(problem), Some(current)) => {
                if !last_read.failing {
                    last_read.failing = true;
                    record!(log::Level::Warn, event = "credential_kept"; "{problem}; the last good content stays in use");
                }
                Ok(current)
            }
            (Err(problem), None) => Err(problem),
        }
    }

    /// Reads the files. Returns `None` if the content has not changed and was good.
    fn reload(&self, last_read: &mut LastRead) -> Result<Option<Arc<T>>, String> {
        let contents = self.paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let digest = digest(&contents);
        if let Some((tried, outcome)) = &last_read.tried
            && tried.as_ref() == digest.as_ref()
        {
            return outcome.clone().map(|()| None);
        }
        let made = (self.make)(&contents).map_err(|problem| format!("{self:?}: {problem}"));
        last_read.tried = Some((digest, made.as_ref().map(|_| ()).map_err(Clone::clone)));
        let fresh = Arc::new(made?);
        self.current.store(Some(Arc::clone(&fresh)));
        Ok(Some(fresh))
    }
}

/// Prints the names of the files and no part of their content.
impl<T> fmt::Debug for WatchedFiles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.paths.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        Ok(())
    }
}

/// Reads a regular file of at most 1 MiB. The error names the file.
pub(crate) fn read(path: &Path) -> Result<Content, String> {
    read_bounded(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

fn read_bounded(path: &Path) -> io::Result<Content> {
    // Opening a pipe would wait for its writer, and its content can be read only once.
    let length = match std::fs::metadata(path)? {
        found if !found.is_file() => return Err(io::Error::other("it is not a regular file")),
        found if found.len() > MAX_FILE => return Err(io::Error::other("it is larger than 1 MiB")),
        found => usize::try_from(found.len()).unwrap_or(0),
    };
    // With the capacity reserved, the vector does not grow and leaves no copies of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(length + 32));
    File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
    Ok(content)
}

fn digest(contents: &[Content]) -> Digest {
    let mut context = Context::new(&SHA256);
    for content in contents {
        context.update(&content.len().to_be_bytes());
        context.update(content);
    }
    context.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::client_auth::testing::Folder;

    fn text(contents: &[Content]) -> Result<String, String> {
        match String::from_utf8_lossy(&contents[0]).into_owned() {
            bad if bad == "bad" => Err("not usable".into()),
            good => Ok(good),
        }
    }

    fn watched(folder: &Folder, every: Duration) -> WatchedFiles<String> {
        WatchedFiles::new([folder.path("secret")], every, text)
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = Folder::new();
        let watched = watched(&folder, Duration::ZERO);
        folder.write("secret", "one");
        let first = watched.get().unwrap();
        assert_eq!(*first, "one");
        assert!(Arc::ptr_eq(&first, &watched.get().unwrap()), "unchanged content is not made again");
        folder.write("secret", "two");
        assert_eq!(*watched.get().unwrap(), "two");
    }

    #[test]
    fn a_change_that_keeps_time_and_length_is_noticed() {
        let folder = Folder::new();
        let watched = watched(&folder, Duration::ZERO);
        folder.write("secret", "one");
        let time = fs::metadata(folder.path("secret")).unwrap().modified().unwrap();
        watched.get().unwrap();
        folder.write("secret", "two");
        File::options().write(true).open(folder.path("secret")).unwrap().set_modified(time).unwrap();
        assert_eq!(*watched.get().unwrap(), "two");
    }

    #[test]
    fn within_the_interval_the_file_is_left_alone() {
        let folder = Folder::new();
        let watched = watched(&folder, Duration::from_secs(3600));
        folder.write("secret", "one");
        watched.get().unwrap();
        folder.write("secret", "two");
        assert_eq!(*watched.get().unwrap(), "one");
    }

    #[test]
    fn the_last_good_content_stays_while_the_file_is_gone_or_unusable() {
        let folder = Folder::new();
        let watched = watched(&folder, Duration::ZERO);
        folder.write("secret", "one");
        watched.get().unwrap();
        fs::remove_file(folder.path("secret")).unwrap();
        assert_eq!(*watched.get().unwrap(), "one");
        folder.write("secret", "bad");
        assert_eq!(*watched.get().unwrap(), "one");
        assert_eq!(*watched.get().unwrap(), "one", "also when the same bad content is seen again");
        folder.write("secret", "three");
        assert_eq!(*watched.get().unwrap(), "three");
    }

    #[test]
    fn without_any_good_content_each_call_looks_and_tells_what_is_wrong() {
        let folder = Folder::new();
        let watched = watched(&folder, Duration::from_secs(3600));
        let missing = watched.get().unwrap_err();
        assert!(missing.contains("secret cannot be read"), "{missing}");
        folder.write("secret", "bad");
        for _ in 0..2 {
            assert!(watched.get().unwrap_err().ends_with("secret: not usable"));
        }
        folder.write("secret", "one");
        assert_eq!(*watched.get().unwrap(), "one");
    }

    #[test]
    fn a_folder_and_an_oversized_file_are_refused() {
        let folder = Folder::new();
        let watched = watched(&folder, Duration::ZERO);
        fs::create_dir(folder.path("secret")).unwrap();
        assert!(watched.get().unwrap_err().contains("not a regular file"));
        fs::remove_dir(folder.path("secret")).unwrap();
        folder.write("secret", "x".repeat(1024 * 1024 + 1));
        assert!(watched.get().unwrap_err().contains("larger than 1 MiB"));
    }

    #[test]
    fn one_content_split_differently_is_another_content() {
        let content = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        assert_ne!(
            digest(&[content("ab"), content("c")]).as_ref(),
            digest(&[content("a"), content("bc")]).as_ref()
        );
    }
}
