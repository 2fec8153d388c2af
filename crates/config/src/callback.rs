//! Settings of the application that says who a client is: `[auth.callback]`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use fanfare_auth::callback::CallbackSettings;
use fanfare_auth::callback::secret::header_value;
use http::HeaderName;

use crate::check::Checks;
use crate::secret::{Secret, Url};
use crate::setting::settings;
use crate::{certificate, fetch_url};

settings! {
    /// `[auth.callback]`: the application that says who a client is, with `auth.mode = "callback"`.
    pub struct CallbackConfig = "auth.callback", |config| config.auth.callback => {
        /// URL that the node asks: `https`, or `http` on a loopback address.
        url: Option<Url>;
        /// Whether `auth.callback.url` may be `http` on any host. An attacker on the network path can then read credentials and
        /// let anybody in.
        http: bool = "false";
        /// PEM file with the certificates to trust in place of the system's, for `auth.callback.url`.
        ca: Option<PathBuf>;
        /// Secret by which the application knows the node, at least 32 bytes: each request has it as `Fanfare-Secret`.
        secret: Option<Secret>;
        /// File with the secret, in place of `auth.callback.secret`. One line ending at the end of the file is ignored.
        secret_file: Option<PathBuf>;
        /// Headers of a client that the application gets. A request with none of them is refused, and not asked about.
        headers: Vec<String> = "cookie,authorization";
        /// Timeout of a request to the application; also the longest time that a request waits for its turn.
        timeout: Duration = "5s", in "100ms" to "30s";
        /// Maximum number of concurrent requests to the application.
        requests: usize = "64", in "1" to "10000";
        /// Maximum size of all answers that the node keeps.
        cache: ByteSize = "16MiB", in "1KiB" to "1GiB";
        /// Longest time for which an answer is kept; `Cache-Control: max-age` of the answer says for how long.
        max_age: Duration = "5m", in "0s" to "1d";
        /// Longest time for which an identity holds, and so a stream is open; `expires_in` of the answer may be shorter.
        max_lifetime: Duration = "1d", in "1s" to "31d";
    }
}

impl CallbackConfig {
    /// Returns the settings of requests to the application. A checked configuration has a URL.
    pub fn settings(&self) -> CallbackSettings {
        CallbackSettings {
            url: self.url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default(),
            ca: self.ca.clone(),
            secret: self.secret.as_ref().and_then(|secret| header_value(secret.expose()).ok()),
            secret_file: self.secret_file.clone(),
            timeout: self.timeout,
            requests: self.requests,
            cache: self.cache.as_u64(),
            max_age: self.max_age,
            max_lifetime: self.max_lifetime,
        }
    }

    /// Returns the names of the headers that the application gets, which are valid in a checked configuration.
    pub fn header_names(&self) -> Vec<HeaderName> {
        self.headers.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Checks the settings, and reads the secret's file.
    pub(crate) fn check(&mut self, checks: &mut Checks<'_>) {
        let wrong = self
            .url
            .as_ref()
            .map_or(Some("auth.callback.url is not set"), |url| fetch_url::wrong(url.expose(), self.http));
        if let Some(what) = wrong {
            let right =
                "an https URL without a user, or an http URL on a loopback address (or callback.http = true)";
            checks.fail(&["auth.callback.url", "auth.callback.http"], what, right);
        }
        if let Some(Err(error)) = self.ca.as_deref().map(certificate::certificates) {
            let right = "a PEM file with certificates that this process may read";
            checks.fail(&["auth.callback.ca"], &error.to_string(), right);
        }
        self.check_secret(checks);
        let may_be_told =
            |name: &String| name.parse::<HeaderName>().is_ok_and(|name| !UNTOLD.contains(&name.as_str()));
        checks.hold(
            !self.headers.is_empty() && self.headers.iter().all(may_be_told),
            &["auth.callback.headers"],
            "not a list of headers that a client sends by itself",
            "names like cookie or authorization, but none that concerns the connection or its way, like host",
        );
        let names = self.header_names();
        let others = names.iter().collect::<HashSet<_>>();
        checks.hold(
            others.len() == names.len(),
            &["auth.callback.headers"],
            "a header is listed twice",
            "each header once; upper and lower case are the same",
        );
    }

    fn check_secret(&mut self, checks: &mut Checks<'_>) {
        const SECRET: &str = "auth.callback.secret";
        const FILE: &str = "auth.callback.secret_file";
        if let Some(file) = self.secret_file.clone() {
            checks.hold(
                self.secret.is_none(),
                &[FILE, SECRET],
                "the secret is set twice, as a value and as a file",
                "one of secret and secret_file",
            );
            self.secret = checks.secret_in(FILE, &file);
        }
        let Some(secret) = &self.secret else { return };
        if let Err(what) = header_value(secret.expose()) {
            checks.fail(&[SECRET, FILE], &what, "at least 32 random bytes (openssl rand -hex 32)");
        }
    }
}

/// Headers that the application does not get from a client: they are about the client's own request and connection (RFC 9110,
/// section 7.6.1), they are what proxies say, or the node sets them.
const UNTOLD: [&str; 25] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "fanfare-secret",
    "forwarded",
    "host",
    "http2-settings",
    "if-none-match",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];
