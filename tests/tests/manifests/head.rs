//! One limit on a request's head, and one on its body: the node's, and the same in everything that stands before it.

use fanfare_config::limits::LimitsConfig;
use fanfare_node::http::head_size::{BEYOND, FIELDS_READ};

use crate::files;

/// The node's limit, in bytes.
fn limit() -> usize {
    usize::try_from(LimitsConfig::default().head_bytes.as_u64()).unwrap()
}

fn text(name: &str) -> String {
    files::text(&files::path(name))
}

/// The rest of the only line that begins like this, blanks and comment signs aside.
fn rest<'a>(text: &'a str, begins: &str) -> &'a str {
    let found: Vec<_> =
        text.lines().filter_map(|line| line.trim_start_matches([' ', '#']).strip_prefix(begins)).collect();
    let [rest] = found[..] else { panic!("{begins:?} {} times", found.len()) };
    rest.trim()
}

/// How many buffers of how many bytes, in the words of nginx.
fn buffers(text: &str) -> (usize, usize) {
    let (number, size) = text.trim_matches(['"', ';']).split_once(' ').expect("a number and a size");
    let size: usize = size.strip_suffix('k').expect("a size in KiB").parse().unwrap();
    (number.parse().unwrap(), size * 1024)
}

#[test]
fn nginx_takes_a_line_of_the_limit_and_a_whole_head_of_more() {
    let (number, size) = buffers(rest(&text("deploy/nginx.conf"), "large_client_header_buffers "));
    assert_eq!(size, limit());
    assert!(number * size >= limit() + BEYOND);
}

#[test]
fn haproxy_has_room_for_the_limit_a_second_cursor_and_what_it_adds() {
    let config = text("deploy/haproxy.cfg");
    let number = |name: &str| rest(&config, name).parse::<usize>().unwrap();
    let (buffer, reserved) = (number("tune.bufsize "), number("tune.maxrewrite "));
    assert_eq!(buffer - reserved, limit() + BEYOND);
    assert!(reserved >= 1024, "for the headers that it adds");
    assert_eq!(number("tune.http.maxhdr "), FIELDS_READ);
}

#[test]
fn nginx_and_the_ingress_take_a_body_of_the_limit() {
    let limit = LimitsConfig::default().batch_bytes.as_u64() / 1024 / 1024;
    assert_eq!(rest(&text("deploy/nginx.conf"), "client_max_body_size "), format!("{limit}m;"));
    assert_eq!(
        rest(&text("k8s/overlays/prod/ingress.yaml"), "nginx.ingress.kubernetes.io/proxy-body-size: "),
        format!("{limit}m")
    );
}

#[test]
fn the_ingress_and_the_docs_say_the_same() {
    let wanted = buffers(rest(&text("deploy/nginx.conf"), "large_client_header_buffers "));
    let ingress = text("k8s/overlays/prod/ingress.yaml");
    assert_eq!(buffers(rest(&ingress, "large-client-header-buffers: ")), wanted);
    let docs = text("docs/operations.md");
    let haproxy = rest(&text("deploy/haproxy.cfg"), "tune.bufsize ").to_owned();
    for words in [
        format!("`limits.head_bytes` ({} KiB)", limit() / 1024),
        format!("`tune.bufsize {haproxy}`"),
        format!("`large_client_header_buffers {} {}k`", wanted.0, wanted.1 / 1024),
        format!("`large-client-header-buffers: \"{} {}k\"`", wanted.0, wanted.1 / 1024),
    ] {
        assert!(docs.contains(&words), "docs/operations.md has no {words}");
    }
}

#[test]
fn both_balancers_echo_cursors_up_to_the_longest() {
    let longest = fanfare_protocol::cursor::MAX_CURSOR_BYTES;
    for name in ["deploy/nginx.conf", "deploy/haproxy.cfg"] {
        let config = text(name);
        let repeats: Vec<usize> = config
            .split("]{1,")
            .skip(1)
            .filter_map(|rest| rest.split_once('}').and_then(|(most, _)| most.parse().ok()))
            // The origin has its own.
            .filter(|most| *most > 255)
            .collect();
        assert!(repeats.len() >= 3, "{name}: {repeats:?}");
        // One of them comes behind an `a`.
        assert!(repeats.iter().all(|most| [longest, longest - 1].contains(most)), "{name}: {repeats:?}");
    }
}

#[test]
fn both_balancers_wait_for_three_heartbeats() {
    let heartbeat = fanfare_config::stream::StreamConfig::default().heartbeat;
    let patience = format!("{}s", 3 * heartbeat.as_secs());
    assert_eq!(rest(&text("deploy/haproxy.cfg"), "timeout server "), patience);
    assert!(text("deploy/nginx.conf").contains(&format!("proxy_read_timeout {patience};")));
}
