//! Tests of configuration sources and of the errors they cause.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use fanfare_protocol::Channel;

use super::*;
use crate::auth::AuthMode;
use crate::source::Flag;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn environment(pairs: &[(&str, &str)]) -> Reading {
    Config::read(&Sources { variables: variables(pairs), ..Sources::default() })
}

fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    (file, sources)
}

/// Returns the faults except the one of `auth.mode`, which is not set.
fn faults(reading: &Reading) -> Vec<&Fault> {
    reading.faults.iter().filter(|fault| fault.setting != "auth.mode").collect()
}

/// Returns the one fault of these variables.
fn fault(pairs: &[(&str, &str)]) -> Fault {
    let reading = environment(pairs);
    let [one] = faults(&reading)[..] else { panic!("{pairs:?}: {:?}", faults(&reading)) };
    one.clone()
}

#[test]
fn the_labels_of_metrics_are_bounded_by_the_number_of_rules() {
    let rules = |count: usize| vec!["room:*"; count].join(",");
    for (namespaces, count, is_wrong) in [("true", 100, false), ("true", 101, true), ("false", 101, false)] {
        let rules = rules(count);
        let pairs = [("FANFARE_METRICS__NAMESPACES", namespaces), ("FANFARE_RETENTION__RULES", &*rules)];
        let reading = environment(&pairs);
        assert_eq!(!faults(&reading).is_empty(), is_wrong, "{namespaces} {count}");
    }
}

#[test]
fn a_collector_has_a_url_without_a_password() {
    for (url, word) in [
        ("collector:4318", "not a URL"),
        ("ftp://collector", "neither https nor http"),
        ("http://ops:secret@collector:4318", "a user or a password"),
    ] {
        let fault = fault(&[("FANFARE_TRACE__ENDPOINT", url)]);
        assert!(fault.wrong.contains(word) && !fault.to_string().contains("secret"), "{fault}");
    }
    assert!(faults(&environment(&[("FANFARE_TRACE__ENDPOINT", "http://collector:4318")])).is_empty());
}

#[test]
fn a_client_may_ask_for_a_heartbeat_within_bounds() {
    let seconds = Duration::from_secs;
    let stream = stream::StreamConfig::default();
    let of = |wanted| stream.heartbeat_of(wanted, None);
    assert_eq!(
        [None, Some(seconds(1)), Some(seconds(7)), Some(seconds(60))].map(of),
        [15, 5, 7, 15].map(seconds)
    );
    // A shorter one of the operator holds.
    let stream = stream::StreamConfig { heartbeat: seconds(2), ..stream };
    assert_eq!(stream.heartbeat_of(Some(seconds(1)), None), seconds(2));
}

#[test]
fn a_heartbeat_is_half_of_the_silence_in_which_connections_are_lost() {
    let seconds = Duration::from_secs;
    let stream = stream::StreamConfig::default();
    let of = |silence| stream.heartbeat_of(None, Some(seconds(silence)));
    assert_eq!([6, 12, 20, 60].map(of), [5, 6, 10, 15].map(seconds));
    // What the client asks for holds.
    assert_eq!(stream.heartbeat_of(Some(seconds(9)), Some(seconds(12))), seconds(9));
}

#[test]
fn the_defaults_are_valid_and_those_of_the_broker() {
    let reading = Config::read(&Sources::default());
    assert_eq!(faults(&reading), Vec::<&Fault>::new());
    let config = reading.config;
    assert_eq!(config.broker_settings().retention.default, fanfare_broker::Retention::default());
    let variables = [("FANFARE_REDIS__URL", "redis://127.0.0.1:6379")];
    let redis = environment(&variables).config.redis.settings().unwrap();
    assert!(redis == fanfare_broker::RedisSettings::default(), "{redis:?}");
}

#[test]
fn a_range_includes_both_ends_and_nothing_beyond() {
    let number = |text: &str| text.find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| at);
    for setting in settings() {
        let Some((least, most)) = setting.range else { continue };
        let variable = setting.variable();
        let reported = |value: &str| {
            let Reading { faults, .. } = environment(&[(&variable, value)]);
            faults.into_iter().find(|fault| fault.setting == setting.name).map(|fault| fault.wrong)
        };
        for end in [least, most] {
            assert_ne!(reported(end).as_deref(), Some("value out of range"), "{} = {end}", setting.name);
        }
        let (digits, unit) = most.split_at(number(most));
        let beyond = format!("{}{unit}", digits.parse::<u64>().unwrap() + 1);
        let wrong = reported(&beyond).unwrap_or_else(|| panic!("{} = {beyond} is taken", setting.name));
        assert!(["value out of range", "longer than 366 days"].contains(&wrong.as_str()), "{wrong}");
        if let Some(zero) =
            (number(least) > 0 && !least.starts_with('0')).then(|| format!("0{}", &least[number(least)..]))
        {
            let wrong = reported(&zero).unwrap_or_else(|| panic!("{} = {zero} is taken", setting.name));
            assert_eq!(wrong, "value out of range", "{} = {zero}", setting.name);
        }
    }
}

#[test]
fn values_that_contradict_each_other_are_reported_with_what_would_be_right() {
    let url = ("FANFARE_REDIS__URL", "redis://h");
    for (pairs, setting, right) in [
        (&[("FANFARE_STREAM__PEER_TIMEOUT", "5s")][..], "stream.peer_timeout", "stream.write_timeout (30s)"),
        (&[("FANFARE_STREAM__WRITE_TIMEOUT", "1h")], "stream.write_timeout", "stream.write_timeout (1h)"),
        (&[("FANFARE_LIMITS__MEMORY", "100MiB")], "limits.memory", "limits.batch_bytes"),
        (&[("FANFARE_LIMITS__BATCH_BYTES", "200MiB")], "limits.batch_bytes", "limits.memory at least"),
        (&[("FANFARE_LIMITS__BATCH_BYTES", "2KiB")], "limits.batch_bytes", "larger than limits.event_data"),
        (&[("FANFARE_RETENTION__AGE", "8d")], "retention.age", "retention.positions at least as long"),
        (&[("FANFARE_RETENTION__RULES", "a events=0")], "retention.rules", "events at least 1"),
        (&[("FANFARE_RETENTION__RULES", "a age=0s")], "retention.rules", "age at least 1ms"),
        (&[("FANFARE_RETENTION__RULES", "a age=8d")], "retention.rules", "positions at least as long"),
        (&[("FANFARE_DRAIN__WINDOW", "40s")], "drain.window", "drain.notice and drain.window together"),
        (&[("FANFARE_DRAIN__DEADLINE", "0s")], "drain.deadline", "drain.notice and drain.window together"),
        (&[("FANFARE_ADMIN__LISTEN", "127.0.0.1:8080")], "admin.listen", "another port"),
        (&[("FANFARE_NODE__PROXY_PROTOCOL", "true")], "node.proxy_protocol", "http.trusted_proxies"),
        (&[("FANFARE_HTTP__TRUSTED_PROXIES", "::/0")], "http.trusted_proxies", "load balancers"),
        (&[("FANFARE_HTTP__TRUSTED_PROXIES", "lb")], "http.trusted_proxies", "10.0.0.0/24"),
        (&[("FANFARE_REDIS__PASSWORD_FILE", "/dev/null")], "redis.password_file", "a redis.url"),
        (&[url, ("FANFARE_REDIS__PASSWORD_FILE", "/dev/null")], "redis.password_file", "only the password"),
        (&[("FANFARE_REDIS__URL", "redis://h/1")], "redis.url", "database 0"),
        (&[("FANFARE_REDIS__URL", "redis://h?database=1")], "redis.url", "only database 0"),
        (&[("FANFARE_REDIS__TIMEOUT", "13d")], "redis.timeout", "1ms to 1h"),
        (&[("FANFARE_REDIS__PREFIX", "a:node")], "redis.prefix", "1 to 64 bytes"),
        (&[("FANFARE_AUTH__COOKIE", "a b")], "auth.cookie", "letters"),
        (&[("FANFARE_AUTH__JWT__MAX_LIFETIME", "400d")], "auth.jwt.max_lifetime", "at most 366d"),
        (
            &[("FANFARE_LIMITS__CONNECTS_PER_SECOND", "4294967296")],
            "limits.connects_per_second",
            "whole number",
        ),
    ] {
        let fault = fault(pairs);
        assert_eq!(fault.setting, setting, "{fault}");
        assert!(fault.right.contains(right), "{fault}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_file, mut sources) = file(
        r#"
        [auth]
        mode = "none"
        [redis]
        prefix = "file"
        pool_size = 3
        [stream]
        heartbeat = "1s"
        [limits]
        event_data = 1000
        [[retention.rules]]
        channel = "room:*"
        events = 5
        [http]
        allowed_origins = ["https://a.example", "http://localhost:3000"]
        "#,
    );
    sources.variables =
        variables(&[("FANFARE_REDIS__PREFIX", "env"), ("FANFARE_STREAM__HEARTBEAT", "2s"), ("PATH", "/")]);
    sources.flags = vec![Flag { flag: "--redis-prefix", setting: "redis.prefix", value: "flag".into() }];
    let Reading { config, effective, faults } = Config::read(&sources);
    assert_eq!(faults, []);
    assert_eq!(config.redis.prefix, "flag");
    assert_eq!(config.redis.pool_size, 3);
    assert_eq!(config.stream.heartbeat, Duration::from_secs(2));
    assert_eq!(config.limits.event_data.as_u64(), 1000);
    assert_eq!(config.retention.rules().of(&Channel::new("room:1").unwrap()).events, 5);
    assert_eq!(config.http.allowed_origins.len(), 2);
    let of = |name: &str| effective.iter().find(|effective| effective.setting == name).unwrap();
    assert_eq!(of("redis.prefix").origin.to_string(), "flag --redis-prefix");
    assert_eq!(of("stream.heartbeat").origin.to_string(), "environment FANFARE_STREAM__HEARTBEAT");
    assert!(of("redis.pool_size").origin.to_string().starts_with("file /"));
    assert_eq!(of("stream.retry").origin, Origin::Default);
    assert_eq!(of("retention.rules").value.as_deref(), Some("room:* events=5"));
    assert_eq!(of("node.id").value.as_deref(), Some(config.node.id.as_str()));
}

#[test]
fn a_list_is_shown_as_parsed_whatever_it_is_from() {
    let shown = |name: &str, pairs: &[(&str, &str)]| {
        let reading = environment(pairs);
        let effective = reading.effective.into_iter().find(|effective| effective.setting == name);
        effective.unwrap().value.unwrap()
    };
    let origins = [("FANFARE_HTTP__ALLOWED_ORIGINS", " https://a.example,,https://b.example ")];
    assert_eq!(shown("http.allowed_origins", &origins), "https://a.example, https://b.example");
    let proxies = [("FANFARE_HTTP__TRUSTED_PROXIES", "10.1.2.3/8,::1")];
    assert_eq!(shown("http.trusted_proxies", &proxies), "10.0.0.0/8, ::1");
    let rules = [("FANFARE_RETENTION__RULES", "room:*  age=10m events=5,log:* events=7,")];
    assert_eq!(shown("retention.rules", &rules), "room:* events=5 age=10m, log:* events=7");
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let (_file, mut sources) = file(
        "listen = 1\n[stream]\nheartbet = \"1s\"\nmax_log_reads = \"many\"\nredis = 7\n[nod]\nid = \"x\"",
    );
    sources.variables = variables(&[
        ("FANFARE_STREAM__HEARTBEAT", "15"),
        ("FANFARE_NODE__LISTEN", "localhost"),
        ("FANFARE_REDIS_URL", "redis://h"),
        ("FANFARE_INTAKE__LEASE", "1ms"),
        ("FANFARE_RETENTION__POSITIONS", "1m"),
        ("FANFARE_AUTH__MODE", "maybe"),
        ("FANFARE_NODE__ID", "two words"),
        ("FANFARE_HTTP__ALLOWED_ORIGINS", "https://a.example/path"),
        ("FANFARE_RETENTION__RULES", "room{} events=1"),
        ("FANFARE_LOG__LEVEL", "loud"),
    ]);
    let message = Config::load(&sources).unwrap_err().to_string();
    for word in [
        "stream.heartbet",
        "did you mean stream.heartbeat?",
        "stream.max_log_reads = many",
        "listen (from",
        "did you mean node.listen?",
        "did you mean node?",
        "stream.redis",
        "stream.heartbeat = 15 (from environment FANFARE_STREAM__HEARTBEAT)",
        "like 15s, 2m",
        "node.listen = localhost",
        "did you mean FANFARE_REDIS__URL?",
        "intake.lease = 1ms",
        "500ms to 1h",
        "retention.positions = 1m",
        "one of: jwt, callback, none",
        "node.id = two words",
        "without a path",
        "'{' at byte 4",
        "log.level = loud",
    ] {
        assert!(message.contains(word), "{word} is not in:\n{message}");
    }
    assert!(message.starts_with("15 settings are invalid"), "{message}");
}

#[test]
fn serving_without_a_word_about_auth_tells_both_ways() {
    let message = Config::load(&Sources::default()).unwrap_err().to_string();
    assert!(message.contains("--auth jwt") && message.contains("--auth none"), "{message}");
}

#[test]
fn a_secret_is_long_comes_from_one_place_and_is_shown_nowhere() {
    let long = "0123456789abcdef0123456789abcdef";
    let jwt = ("FANFARE_AUTH__MODE", "jwt");
    let reported = |pairs: &[(&str, &str)]| {
        let reading = environment(pairs);
        let shown = format!("{reading:?}{}", Faults(reading.faults.clone()));
        assert!(!shown.contains("0123456789") && !shown.contains("hush"), "{shown}");
        (reading.config, Faults(reading.faults).to_string())
    };
    assert!(reported(&[jwt]).1.contains("no secret"));
    assert!(reported(&[jwt, ("FANFARE_AUTH__JWT__SECRET", "hush")]).1.contains("4 bytes"));
    let (config, _) = reported(&[jwt, ("FANFARE_AUTH__JWT__SECRET", long)]);
    assert_eq!(config.auth.mode, Some(AuthMode::Jwt));
    assert_eq!(config.auth.jwt.secret.unwrap().expose(), long);

    let (file, _) = file(&format!("{long}\n"));
    let path = file.path().to_str().unwrap();
    let (config, _) = reported(&[jwt, ("FANFARE_AUTH__JWT__SECRET_FILE", path)]);
    assert_eq!(config.auth.jwt.secret.unwrap().expose(), long);
    let both = [jwt, ("FANFARE_AUTH__JWT__SECRET", long), ("FANFARE_AUTH__JWT__SECRET_FILE", path)];
    assert!(reported(&both).1.contains("twice"));
    assert!(
        reported(&[jwt, ("FANFARE_AUTH__JWT__SECRET_FILE", "/nowhere/at/all")]).1.contains("cannot be read")
    );
    let (_, redis) = reported(&[("FANFARE_REDIS__URL", "redis:/me:hush@h")]);
    assert!(redis.contains("redis.url"), "{redis}");
}

#[test]
fn an_application_has_a_url_that_is_safe_and_gets_no_header_of_the_node_or_of_proxies() {
    const URL: &str = "FANFARE_AUTH__CALLBACK__URL";
    const HEADERS: &str = "FANFARE_AUTH__CALLBACK__HEADERS";
    let good = [("FANFARE_AUTH__MODE", "callback"), (URL, "https://app.example/whoami")];
    let reported = |pairs: &[(&str, &str)]| {
        let faults = environment(&[&good, pairs].concat()).faults;
        (faults.len(), Faults(faults).to_string())
    };
    let without = Faults(environment(&good[..1]).faults).to_string();
    assert!(without.contains("auth.callback.url is not set"), "{without}");
    assert_eq!(reported(&[]).0, 0);
    assert_eq!(reported(&[(URL, "http://localhost:3000/"), (HEADERS, "Cookie, X-Session")]).0, 0);
    assert_eq!(reported(&[(URL, "http://app/"), ("FANFARE_AUTH__CALLBACK__HTTP", "true")]).0, 0);
    let key = format!("{{ name = 'a', sha256 = '{}' }}", "0".repeat(64));
    for (name, value, words) in [
        (URL, "http://app/", "could replace the keys or the answers"),
        (URL, "https://me:hush@app/", "a user or a password"),
        (URL, "ftp://app/", "neither https nor http"),
        (HEADERS, "cookie, a b", "cookie or authorization"),
        (HEADERS, "X-Forwarded-For", "cookie or authorization"),
        (HEADERS, "cookie, Connection", "cookie or authorization"),
        (HEADERS, "Fanfare-Secret", "cookie or authorization"),
        (HEADERS, "cookie, x-session, Cookie", "listed twice"),
        ("FANFARE_AUTH__CALLBACK__CA", "/nowhere", "auth.callback.ca"),
        ("FANFARE_AUTH__CALLBACK__CACHE", "2GiB", "1KiB to 1GiB"),
        // API keys are accepted in this mode too.
        ("FANFARE_AUTH__KEYS", &*format!("[{key}, {key}]"), "two entries have the same sha256"),
    ] {
        let (number, text) = reported(&[(name, value)]);
        assert!(number == 1 && text.contains(words) && !text.contains("hush"), "{name}={value}: {text}");
    }
}

#[test]
fn the_secret_for_the_application_is_long_comes_from_one_place_and_is_shown_nowhere() {
    let long = "0123456789abcdef0123456789abcdef";
    let (file, _) = file(&format!("{long}\n"));
    let path = file.path().to_str().unwrap();
    let (value, in_file) = ("FANFARE_AUTH__CALLBACK__SECRET", "FANFARE_AUTH__CALLBACK__SECRET_FILE");
    let good = [("FANFARE_AUTH__MODE", "callback"), ("FANFARE_AUTH__CALLBACK__URL", "https://app.example/")];
    let reported = |pairs: &[(&str, &str)]| {
        let reading = environment(&[&good, pairs].concat());
        let (settings, faults) = (reading.config.auth.callback.settings(), reading.faults.len());
        let shown = format!("{reading:?}{settings:?}{}", Faults(reading.faults.clone()));
        assert!(!shown.contains("0123456789") && !shown.contains("hush"), "{shown}");
        let secret = settings.secret.map(|secret| secret.to_str().unwrap().to_owned());
        (secret, faults, Faults(reading.faults).to_string())
    };
    for source in [(value, long), (in_file, path)] {
        let (secret, faults, _) = reported(&[source]);
        assert_eq!((secret.as_deref(), faults), (Some(long), 0));
    }
    assert!(reported(&[(value, long), (in_file, path)]).2.contains("twice"));
    assert!(reported(&[(value, "hush")]).2.contains("4 bytes"));
    assert!(reported(&[(in_file, "/nowhere")]).2.contains("cannot be read"));
    let lines = reported(&[(value, &format!("{long}\n{long}x"))]).2;
    assert!(lines.contains("does not fit in a header"), "{lines}");
}

#[test]
fn issuers_are_checked_like_the_first_one_and_each_token_has_one() {
    let jwt = ("FANFARE_AUTH__MODE", "jwt");
    let reported = |pairs: &[(&str, &str)]| {
        let all = [&[jwt], pairs].concat();
        let faults = environment(&all).faults;
        (faults.len(), Faults(faults).to_string())
    };
    let secret = "0123456789abcdef0123456789abcdef";
    let a = format!("issuer = 'a', secret = '{secret}'");
    let issuers = |list: &str| reported(&[("FANFARE_AUTH__ISSUERS", list)]);
    assert_eq!(issuers(&format!("[{{ {a} }}, {{ secret = '{secret}' }}]")).0, 0);
    for (list, words) in [
        ("[{ issuer = 'a' }]".to_owned(), &["entry 0 has no key"][..]),
        (format!("[{{ {a} }}, {{ {a} }}]"), &["two issuers have the issuer a"]),
        (format!("[{{ secret = '{secret}' }}, {{ secret = '{secret}' }}]"), &["two issuers have no issuer"]),
        (
            "[{ issuer = 'a', secret = 'hush' }, { issuer = 'b', key_files = ['/nowhere'], secret_file = '/no' }]".into(),
            &["secret of entry 0: the secret has 4 bytes", "key_files of entry 1: /nowhere cannot be read", "secret_file of entry 1: cannot"],
        ),
    ] {
        let (count, said) = issuers(&list);
        assert_eq!(count, words.len(), "{said}");
        for word in words {
            assert!(said.contains(word) && !said.contains("hush") && !said.contains("0123456789"), "{said}");
        }
    }
    let urls = ["https://login.example/keys", "http://127.0.0.1:1/k", "http://[::1]/k", "http://localhost/k"];
    for url in urls {
        assert_eq!(reported(&[("FANFARE_AUTH__JWT__JWKS_URL", url)]).0, 0, "{url}");
    }
    let plain = ("FANFARE_AUTH__JWT__JWKS_URL", "http://login/keys");
    assert_eq!(reported(&[plain, ("FANFARE_AUTH__JWT__JWKS_HTTP", "true")]).0, 0);
    let first = ("FANFARE_AUTH__JWT__SECRET", secret);
    let further = format!("[{{ {a} }}]");
    let further = ("FANFARE_AUTH__ISSUERS", further.as_str());
    assert_eq!(reported(&[first, further]).0, 0);
    assert!(
        reported(&[first, further, ("FANFARE_AUTH__JWT__ISSUER", "a")])
            .1
            .contains("two issuers have the issuer a")
    );
    assert!(reported(&[further, ("FANFARE_AUTH__JWT__AUDIENCE", "x")]).1.contains("auth.jwt has no key"));
    for (name, value, word) in [
        ("ALGORITHMS", "RS256,none", "\"none\" is not an algorithm"),
        ("SUBSCRIBE", "team:{sub", "brace"),
        ("USER_CLAIM", "/~", "JSON pointer"),
        ("REQUIRED_CLAIMS", "token_use=access,azp", "\"azp\": it has no '='"),
        ("GRANTS", "[{ admin = true }]", "rule 0 has no claims"),
        ("KEY_FILES", "/nowhere", "cannot be read"),
        ("JWKS_URL", "login", "not a URL"),
        ("JWKS_URL", "ftp://h/keys", "neither https nor http"),
        ("JWKS_URL", "http://login.example/keys", "could replace the keys"),
        ("JWKS_URL", "https://me:hush@h/keys", "a user or a password"),
        ("JWKS_CA", "/nowhere", "cannot be read"),
        ("JWKS_REFRESH", "2s", "less than the minimum"),
    ] {
        let variable = format!("FANFARE_AUTH__JWT__{name}");
        let (count, said) = reported(&[first, (&variable, value)]);
        assert!(count == 1 && said.contains(word) && !said.contains("hush"), "{said}");
    }
}

#[test]
fn a_certificate_comes_with_its_key_and_its_faults_are_reported_with_the_others() {
    let reported = |pairs: &[(&str, &str)]| Faults(environment(pairs).faults).to_string();
    let (certificate, key) = ("FANFARE_TLS__CERTIFICATE", "FANFARE_TLS__KEY");
    let half = reported(&[(certificate, "/nowhere/c.pem"), ("FANFARE_STREAM__HEARTBEAT", "0s")]);
    assert!(half.contains("tls.key") && half.contains("together"), "{half}");
    assert!(half.contains("stream.heartbeat"), "{half}");
    let unread = reported(&[(certificate, "/nowhere/c.pem"), (key, "/nowhere/k.pem")]);
    assert!(
        unread.contains("tls.certificate = /nowhere/c.pem") && unread.contains("cannot be read"),
        "{unread}"
    );
    assert!(reported(&[("FANFARE_TLS__RELOAD_INTERVAL", "0s")]).contains("tls.reload_interval"));
    let (url, ca) = (("FANFARE_REDIS__URL", "rediss://h"), ("FANFARE_REDIS__CA", "/nowhere/ca.pem"));
    assert!(!reported(&[url]).contains("redis."));
    assert!(reported(&[url, ca]).contains("redis.ca = /nowhere/ca.pem"));
    assert!(reported(&[("FANFARE_REDIS__URL", "redis://h"), ca]).contains("redis.ca"));
}

#[test]
fn client_certificates_need_tls_and_an_admin_listener_for_probes() {
    let reported = |pairs: &[(&str, &str)]| Faults(environment(pairs).faults).to_string();
    let ca = ("FANFARE_TLS__CLIENT_CA", "/nowhere/ca.pem");
    let tls = [("FANFARE_TLS__CERTIFICATE", "/nowhere/c.pem"), ("FANFARE_TLS__KEY", "/nowhere/k.pem")];
    let admin = ("FANFARE_ADMIN__LISTEN", "127.0.0.1:8081");
    assert!(reported(&[ca, admin]).contains("tls.client_ca needs TLS"));
    assert!(reported(&[ca, tls[0], tls[1]]).contains("admin.listen is not set"));
    let unread = reported(&[ca, tls[0], tls[1], admin]);
    assert!(
        unread.contains("tls.client_ca = /nowhere/ca.pem") && !unread.contains("admin.listen"),
        "{unread}"
    );
}

#[test]
fn a_certificate_for_redis_comes_with_its_key_and_over_tls_only() {
    let reported = |pairs: &[(&str, &str)]| Faults(environment(pairs).faults).to_string();
    let url = ("FANFARE_REDIS__URL", "rediss://h");
    let (certificate, key) =
        (("FANFARE_REDIS__CERTIFICATE", "/nowhere/c.pem"), ("FANFARE_REDIS__KEY", "/nowhere/k.pem"));
    for half in [[url, certificate], [url, key]] {
        let said = reported(&half);
        assert!(said.contains("only one of redis.certificate and redis.key is set"), "{said}");
    }
    let unread = reported(&[url, certificate, key]);
    assert!(unread.contains("redis.certificate = /nowhere/c.pem"), "{unread}");
    assert!(unread.contains("cannot be read") && !unread.contains("needs TLS"), "{unread}");
    for url in [Some(("FANFARE_REDIS__URL", "redis://h")), None] {
        let said = reported(&url.into_iter().chain([certificate, key]).collect::<Vec<_>>());
        assert!(said.contains("redis.certificate needs TLS, but redis.url does not use TLS"), "{said}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let reading = environment(&[("FANFARE_REDIS__URL", ""), ("FANFARE_RETENTION__AGE", "")]);
    assert_eq!(faults(&reading), Vec::<&Fault>::new());
    assert_eq!(reading.config.redis.url, None);
}

#[test]
fn what_does_not_fit_a_setting_that_could_not_be_read_is_nobodys_mistake() {
    let reading =
        environment(&[("FANFARE_DRAIN__NOTICE", "1 year and a day"), ("FANFARE_DRAIN__DEADLINE", "2s")]);
    let names: Vec<_> = faults(&reading).iter().map(|fault| fault.setting.clone()).collect();
    assert_eq!(names, ["drain.notice"]);
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_reported() {
    let (_file, sources) = file("[auth.jwt]\nsecret = \"hush\nmode=");
    let message = Config::load(&sources).unwrap_err().to_string();
    assert!(message.contains("the configuration file") && message.contains("line 2"), "{message}");
    assert!(!message.contains("hush"), "{message}");
    let sources = Sources { file: Some("/nowhere/at/all.toml".into()), ..Sources::default() };
    assert!(Config::load(&sources).unwrap_err().to_string().contains("/nowhere/at/all.toml"));
}

#[test]
fn every_duration_has_a_range() {
    let right = <std::time::Duration as crate::value::Value>::right();
    for setting in settings().filter(|setting| (setting.right)() == right) {
        assert!(setting.range.is_some(), "{}", setting.name);
    }
}

#[test]
fn the_documentation_names_exactly_the_settings_there_are() {
    let page = include_str!("../../../docs/configuration.md");
    let mut rows = Vec::new();
    let mut group = "";
    for line in page.lines() {
        if let Some((_, after)) = line.strip_prefix("## ").and_then(|heading| heading.split_once("`[")) {
            group = after.trim_end_matches("]`");
        }
        if line.starts_with("| `") && line.contains("`FANFARE_") {
            assert!(line.starts_with(&format!("| `{group}.")), "in the table of [{group}]: {line}");
            rows.push(line);
        }
    }
    let wanted: Vec<String> = settings()
        .map(|setting| {
            let default = match setting.default {
                "" => String::new(),
                text => format!("`{text}`"),
            };
            let (name, variable, meaning) = (setting.name, setting.variable(), setting.meaning());
            format!("| `{name}` | `{variable}` | {default} | {meaning}{} |", setting.limits())
        })
        .collect();
    assert!(rows == wanted, "the page should have exactly these rows:\n{}", wanted.join("\n"));
}
