//! The file with the signing key and the registered clients. Only its owner may read it.

use std::{
    error::Error,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{client::Client, issuer::random_text};

/// The content of the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The private key as a JWK.
    pub(crate) key: Value,
    /// The secret of the API.
    pub(crate) api_secret: String,
    /// The clients that registered themselves, oldest first.
    pub(crate) clients: Vec<Client>,
}

pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    /// Creates the directory. Issuers with different ports have different files, because they have different clients.
    pub(crate) fn new(directory: &Path, port: u16) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        Ok(Self { path: directory.join(format!("issuer-{port}.json")) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; `None` if there is none.
    pub(crate) fn load(&self) -> Result<Option<Saved>, Box<dyn Error>> {
        let path = self.path.display();
        let content = match fs::read(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {path}: {error}").into()),
        };
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&self.path)?.permissions()) & 0o777;
            if mode & 0o077 != 0 {
                let problem =
                    format!("{path} has the mode {mode:o}, expected 600: delete it to get a new key");
                return Err(problem.into());
            }
        }
        // The text of the parser's error may quote the key.
        let saved = serde_json::from_slice(&content);
        saved.map(Some).map_err(|_| format!("{path} is damaged: delete it to get a new key").into())
    }

    /// Creates the file. Returns `false` if another program has created it in the meantime.
    pub(crate) fn create(&self, saved: &Saved) -> io::Result<bool> {
        let next = self.write_next(saved)?;
        let linked = fs::hard_link(&next, &self.path);
        fs::remove_file(&next)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file.
    pub(crate) fn replace(&self, saved: &Saved) -> io::Result<()> {
        fs::rename(self.write_next(saved)?, &self.path)
    }

    /// Writes the next content to a file with a name that no other program uses.
    fn write_next(&self, saved: &Saved) -> io::Result<PathBuf> {
        let next = self.path.with_extension(format!("{}.next", random_text::<9>()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&next)?.write_all(&serde_json::to_vec_pretty(saved)?)?;
        Ok(next)
    }
}
