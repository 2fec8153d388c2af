//! Key files: secrets, PEM files and JWK sets, which are read again when they change.

use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};

use crate::bounded_file;
use crate::jwk::{self, JwkSetError, Secrets};
use crate::key::{Key, KeyError};
use crate::pem::{self, PemError};
use crate::secret::{self, SecretFileError};

/// The key files of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// File with a secret.
    pub secret: Option<PathBuf>,
    /// Files with public keys or certificates in PEM, or with a set of keys.
    pub keys: Vec<PathBuf>,
}

/// The content of key files.
#[derive(Clone, Debug)]
pub struct FileKeys {
    /// The keys.
    pub keys: Vec<Key>,
    /// Hash of the files, to detect changes.
    pub mark: u64,
}

/// A key file that cannot be used. Shows nothing of its content.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}", .path.display())]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: KeyFileFault,
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileFault {
    /// The file does not exist or cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file has more than 1 MiB.
    #[error("has more than 1 MiB")]
    TooLarge,
    /// The file of the secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The secret must not sign tokens.
    #[error("cannot be used: {0}")]
    Weak(String),
    /// The secret is too short.
    #[error("cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The PEM text cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The JWK set cannot be used.
    #[error(transparent)]
    Set(#[from] JwkSetError),
}

impl KeyFiles {
    /// Returns whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.secret.is_none() && self.keys.is_empty()
    }

    /// Reads all files.
    ///
    /// # Errors
    ///
    /// Fails if one of them cannot be used.
    pub fn read(&self) -> Result<FileKeys, KeyFileError> {
        let mut keys = Vec::new();
        let mut contents = Vec::new();
        if let Some(path) = &self.secret {
            let (key, text) = of_secret(path).map_err(|fault| KeyFileError { path: path.clone(), fault })?;
            keys.push(key);
            contents.push(text.into_bytes());
        }
        for path in &self.keys {
            let (more, text) = of_keys(path).map_err(|fault| KeyFileError { path: path.clone(), fault })?;
            keys.extend(more);
            contents.push(text);
        }
        let mark = foldhash::quality::FixedState::default().hash_one(&contents);
        Ok(FileKeys { keys, mark })
    }
}

fn of_secret(path: &Path) -> Result<(Key, String), KeyFileFault> {
    let secret = secret::read(path)?;
    match secret::weakness(&secret) {
        Some(weakness) => Err(KeyFileFault::Weak(weakness)),
        None => Ok((Key::secret(secret.as_bytes())?, secret)),
    }
}

fn of_keys(path: &Path) -> Result<(Vec<Key>, Vec<u8>), KeyFileFault> {
    let text = bounded_file::read(path)?.ok_or(KeyFileFault::TooLarge)?;
    Ok((keys(&text)?, text))
}

/// Returns the keys of a key file's content: PEM or, if it begins like an object, a set of keys.
///
/// # Errors
///
/// Fails if the content cannot be used.
pub fn keys(text: &[u8]) -> Result<Vec<Key>, KeyFileFault> {
    if text.trim_ascii_start().starts_with(b"{") {
        Ok(jwk::keys(text, Secrets::Allowed)?)
    } else {
        Ok(pem::public_keys(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_kinds_are_read_together_and_a_change_changes_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("secret"), "0123456789abcdef0123456789abcdeg\n").unwrap();
        std::fs::write(path("pem"), include_str!("../tests/keys/ed25519.public.pem")).unwrap();
        std::fs::write(path("set"), include_str!("../tests/keys/set.json")).unwrap();
        let files = KeyFiles { secret: Some(path("secret")), keys: vec![path("pem"), path("set")] };
        let read = files.read().unwrap();
        let algorithms: Vec<_> = read.keys.iter().map(|key| key.algorithms().to_string()).collect();
        assert_eq!(algorithms[..2], ["HS256", "EdDSA"]);
        assert!(algorithms.len() > 3, "{algorithms:?}");
        assert_eq!(files.read().unwrap().mark, read.mark);
        std::fs::write(path("secret"), "another456789abcdef0123456789abcdeg").unwrap();
        assert_ne!(files.read().unwrap().mark, read.mark);
        std::fs::write(path("secret"), "short").unwrap();
        let error = files.read().unwrap_err().to_string();
        assert!(error.contains("secret cannot be used") && error.contains("5 bytes"), "{error}");
        std::fs::remove_file(path("pem")).unwrap();
        let files = KeyFiles { secret: None, keys: vec![path("pem")] };
        assert!(files.read().unwrap_err().to_string().contains("pem cannot be read"));
    }
}
