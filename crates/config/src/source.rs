//! Sources of settings: a file, the environment, flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{File, FileFormat, Map, Source as _};

use crate::fault::Fault;
use crate::lines::Lines;
use crate::setting::{Setting, VARIABLE_PREFIX};
use crate::settings;
use crate::value::{Input, Origin};

/// Environment variable with the path of the configuration file, unless a flag sets it.
pub const FILE_VARIABLE: &str = "FANFARE_CONFIG";

/// Variables with the prefix that are not settings: the file, and those of the client commands.
const OTHER_VARIABLES: [&str; 4] = [FILE_VARIABLE, "FANFARE_SERVER", "FANFARE_TOKEN", "FANFARE_CA"];

/// A flag that sets a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag, like `--listen`.
    pub flag: &'static str,
    /// The setting, like `node.listen`.
    pub setting: &'static str,
    /// The value.
    pub value: String,
}

/// All sources of settings; later ones override earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix are ignored.
    pub variables: Vec<(OsString, OsString)>,
    /// Flags.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// Returns the sources of this process: its environment, and a file and flags from its command line. This is the
    /// only place where the environment is read.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let file = file
            .or_else(|| std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from));
        Self { file, variables: std::env::vars_os().collect(), flags }
    }
}

/// A setting with a value from one of the sources.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) setting: &'static Setting,
    pub(crate) value: Input,
    pub(crate) origin: Origin,
}

impl Given {
    /// Returns the value as text, with secrets masked.
    pub(crate) fn show(&self) -> String {
        (self.setting.show)(&self.value)
    }
}

/// Returns the values of all sources, in order of precedence, and a fault for each name that is not a setting.
pub(crate) fn collect(sources: &Sources) -> (Vec<Given>, Vec<Fault>) {
    let mut given = Vec::new();
    let mut faults = Vec::new();
    if let Some(path) = &sources.file {
        from_file(path, &mut given, &mut faults);
    }
    for (name, value) in &sources.variables {
        from_variable(name, value, &mut given, &mut faults);
    }
    for Flag { flag, setting, value } in &sources.flags {
        // The command line defines the flags; its test catches a flag that names no setting.
        if let Some(setting) = Setting::named(setting) {
            given.push(Given { setting, value: Input::from(value.as_str()), origin: Origin::Flag(flag) });
        }
    }
    (given, faults)
}

fn from_file(path: &Path, given: &mut Vec<Given>, faults: &mut Vec<Fault>) {
    let path_shown = path.display().to_string();
    let origin = Origin::File { path: path_shown.clone(), line: None };
    let fault = |wrong: String, right: &str| Fault {
        setting: "the configuration file".to_owned(),
        value: None,
        origin: origin.clone(),
        wrong,
        right: right.to_owned(),
    };
    let text = match std::fs::read(path)
        .map(|bytes| String::from_utf8(bytes).map_err(|error| error.utf8_error()))
    {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            faults
                .push(fault(format!("is not UTF-8 at byte {}", error.valid_up_to()), "a TOML file in UTF-8"));
            return;
        }
        Err(error) => {
            faults.push(fault(format!("cannot be read: {error}"), "a file that this process may read"));
            return;
        }
    };
    // TOML 1.0 does not allow a byte order mark, but some editors write one.
    if text.starts_with('\u{feff}') {
        let wrong = "begins with a byte order mark (the bytes EF BB BF)".to_owned();
        faults.push(fault(wrong, "UTF-8 without BOM: save the file as \"UTF-8\", not as \"UTF-8 with BOM\""));
        return;
    }
    match File::from_str(&text, FileFormat::Toml).collect() {
        Ok(table) => {
            let lines = Lines::of(&text);
            let origin_of = |name: &str| Origin::File { path: path_shown.clone(), line: lines.of_name(name) };
            from_table("", table, &origin_of, given, faults);
        }
        Err(error) => {
            // The error quotes the line, which may contain a secret.
            let message: Vec<_> =
                error.to_string().lines().filter(|line| !line.contains('|')).map(str::to_owned).collect();
            faults.push(fault(
                message.join(": "),
                "TOML: [node] on a line, listen = \"0.0.0.0:8080\" on the next",
            ));
        }
    }
}

/// Collects the settings of a file's tables, recursively.
fn from_table(
    group: &str,
    table: Map<String, config::Value>,
    origin_of: &impl Fn(&str) -> Origin,
    given: &mut Vec<Given>,
    faults: &mut Vec<Fault>,
) {
    for (key, config::Value { kind: value, .. }) in table {
        let name = format!("{group}{key}");
        let origin = origin_of(&name);
        if let Some(setting) = Setting::named(&name) {
            given.push(Given { setting, value, origin });
            continue;
        }
        let inside = format!("{name}.");
        let is_group = settings().any(|setting| setting.name.starts_with(&inside));
        match value {
            Input::Table(table) if is_group => from_table(&inside, table, origin_of, given, faults),
            _ if is_group => faults.push(Fault {
                right: format!("a table: [{name}]"),
                wrong: "a group of settings, not a setting".to_owned(),
                setting: name,
                value: None,
                origin,
            }),
            _ => faults.push(unknown(name, origin)),
        }
    }
}

fn from_variable(
    name: &std::ffi::OsStr,
    value: &std::ffi::OsStr,
    given: &mut Vec<Given>,
    faults: &mut Vec<Fault>,
) {
    let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { return };
    if OTHER_VARIABLES.contains(&name) || is_service_link(name) {
        return;
    }
    let origin = Origin::Variable(name.to_owned());
    let Some(setting) = settings().find(|setting| setting.variable() == name) else {
        faults.push(unknown(name.to_owned(), origin));
        return;
    };
    match value.to_str() {
        // Compose files and Helm charts set variables without a value.
        Some("") => {}
        Some(text) => given.push(Given { setting, value: Input::from(text), origin }),
        None => faults.push(Fault {
            setting: setting.name.to_owned(),
            value: None,
            origin,
            wrong: "the value is not UTF-8".to_owned(),
            right: (setting.right)(),
        }),
    }
}

/// Returns whether a variable is one of those that Kubernetes sets in every container for the services of its
/// namespace. Variables of a service called `fanfare` or `fanfare-redis` have the prefix of the settings.
fn is_service_link(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let port = |rest: &[&str]| match rest {
        ["PORT"] => true,
        ["PORT", number, "TCP" | "UDP" | "SCTP", rest @ ..] => {
            number.bytes().all(|b| b.is_ascii_digit()) && matches!(rest, [] | ["PROTO" | "PORT" | "ADDR"])
        }
        _ => false,
    };
    !words.contains(&"")
        && (1..words.len()).any(|at| {
            matches!(&words[at..], ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..]) || port(&words[at..])
        })
}

/// Returns the fault of an unknown name, with the setting that was probably meant.
fn unknown(name: String, origin: Origin) -> Fault {
    let variable = matches!(origin, Origin::Variable(_));
    let written = |setting: &Setting| if variable { setting.variable() } else { setting.name.to_owned() };
    // The name may be that of a group, or of a setting outside its group.
    let alike = |setting: &Setting| {
        let whole = written(setting);
        let last = setting.name.rsplit('.').next().unwrap_or_default();
        let group = setting.name.split('.').next().unwrap_or_default();
        let like = |other: &str| strsim::normalized_damerau_levenshtein(other, &name);
        let best = like(&whole).max(like(last));
        if like(group) > best { (like(group), group.to_owned()) } else { (best, whole) }
    };
    // Of equally similar settings the first is meant: `listen` is `node.listen`.
    let meant = settings().rev().map(alike).max_by(|(a, _), (b, _)| a.total_cmp(b));
    let right = match meant.filter(|(likeness, _)| *likeness > 0.6) {
        Some((_, meant)) => format!("did you mean {meant}? `fanfare config` lists all settings"),
        None => "`fanfare config` lists all settings".to_owned(),
    };
    Fault { setting: name, value: None, origin, wrong: "unknown setting".to_owned(), right }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_says_about_services_is_no_setting() {
        for name in [
            "FANFARE_SERVICE_HOST",
            "FANFARE_SERVICE_PORT",
            "FANFARE_SERVICE_PORT_HTTP",
            "FANFARE_PORT",
            "FANFARE_PORT_8080_TCP",
            "FANFARE_PORT_8080_TCP_ADDR",
            "FANFARE_REDIS_SERVICE_HOST",
            "FANFARE_REDIS_PORT_6379_TCP_PROTO",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in ["FANFARE_REDIS_URL", "FANFARE_NODE__LISTEN", "FANFARE_IMPORT", "FANFARE_PORTS"] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
