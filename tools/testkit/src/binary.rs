//! The binaries under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of `fanfare`: `FANFARE_BIN` if that is set, or what Cargo has built for the package's own tests.
/// Otherwise each test process builds it once, in the directory and profile of the tests.
///
/// # Panics
///
/// When it cannot be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let built = std::env::var_os("FANFARE_BIN").or_else(|| std::env::var_os("CARGO_BIN_EXE_fanfare"));
        built.map_or_else(|| build("fanfare"), PathBuf::from)
    })
}

/// `fanfare` with no settings but those that a test gives it.
pub fn command() -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the path of the example publisher `token-stream`: beside `FANFARE_BIN` if that is set. Otherwise it is built as
/// `fanfare` is.
///
/// # Panics
///
/// When it cannot be built.
pub fn token_stream() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let beside = |fanfare| Path::new(&fanfare).with_file_name("token-stream");
        std::env::var_os("FANFARE_BIN").map_or_else(|| build("token-stream"), beside)
    })
}

fn build(binary: &str) -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().expect("a running test has a file");
    let profile = test.ancestors().nth(2).expect("tests lie in the target directory");
    let target = profile.parent().expect("a profile lies in the target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With a test among what is built, Cargo chooses the features of the test programs, and compiles no dependency again.
    cargo.args(["build", "--quiet", "--workspace", "--test", "serve", "--bin", binary, "--target-dir"]);
    cargo.arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be run");
    assert!(status.success(), "{binary} could not be built");
    profile.join(binary)
}
