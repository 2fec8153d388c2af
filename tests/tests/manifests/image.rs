//! `Dockerfile`: what a node is shipped in.

use crate::files;

/// The instructions, each on one line.
fn instructions() -> Vec<String> {
    let text = files::text(&files::path("Dockerfile"));
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|l| !l.is_empty())
        .collect()
}

/// The instructions of the stage that is shipped: the last one.
fn shipped() -> Vec<String> {
    let all = instructions();
    let from = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    all[from..].to_vec()
}

#[test]
fn the_image_runs_as_a_number_that_is_not_root() {
    let users: Vec<_> =
        shipped().into_iter().filter_map(|line| line.strip_prefix("USER ").map(str::to_owned)).collect();
    let [user] = &users[..] else { panic!("{users:?}") };
    let (user, group) = user.split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().unwrap() > 0);
}

#[test]
fn the_image_asks_for_its_own_health_and_hears_signals_itself() {
    let shipped = shipped();
    let health = shipped.iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    assert!(health.ends_with(r#"CMD ["fanfare", "health"]"#), "{health}");
    for line in ["STOPSIGNAL SIGTERM", r#"ENTRYPOINT ["fanfare"]"#, r#"CMD ["serve"]"#] {
        assert!(shipped.iter().any(|have| have == line), "{line}");
    }
}

#[test]
fn the_labels_of_the_image_are_those_of_the_oci_and_of_the_workspace() {
    let manifest = files::text(&files::path("Cargo.toml"));
    let of_workspace = |name: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).unwrap();
        line.trim_matches('"').to_owned()
    };
    let shipped = shipped();
    let labels = shipped.iter().find_map(|line| line.strip_prefix("LABEL ")).expect("labels");
    let has = |name: &str, value: &str| {
        let label = format!("org.opencontainers.image.{name}=\"{value}\"");
        assert!(labels.contains(&label), "{label} is not in {labels}");
    };
    has("title", "fanfare");
    has("version", &of_workspace("version"));
    has("licenses", &of_workspace("license"));
    has("revision", "${REVISION}");
    assert!(shipped.iter().any(|line| line == "ARG REVISION"), "the revision is given at the build");
    assert!(
        labels
            .split(" org.")
            .all(|label| label.trim_start_matches("org.").starts_with("opencontainers.image."))
    );
}

#[test]
fn the_image_is_built_with_the_rust_that_the_workspace_asks_for() {
    let manifest = files::text(&files::path("Cargo.toml"));
    let asked =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let image =
        instructions().into_iter().find_map(|line| line.strip_prefix("ARG RUST=rust:").map(str::to_owned));
    assert!(image.unwrap().starts_with(&format!("{asked}-")));
}

#[test]
fn the_image_is_built_from_every_member_of_the_workspace() {
    let manifest = files::text(&files::path("Cargo.toml"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    let (ignored, instructions) = (files::text(&files::path(".dockerignore")), instructions().join("\n"));
    for member in members {
        let folder = member.trim_end_matches("/*");
        let sent = [format!("!{folder}"), format!("!{folder}/Cargo.toml")];
        assert!(ignored.lines().any(|line| sent.iter().any(|sent| sent == line)), "{folder} is not sent");
        assert!(instructions.contains(&format!("{member}/Cargo.toml")), "{member} has no stand-in");
    }
}

#[test]
fn base_images_have_a_version_and_can_be_given_by_digest() {
    let all = instructions();
    for stage in all.iter().filter_map(|line| line.strip_prefix("FROM ")) {
        let base = stage.split(' ').next().unwrap();
        let own = all.iter().any(|line| line.ends_with(&format!(" AS {base}")));
        assert!(own || ["${RUST}", "${RUNTIME}"].contains(&base), "{base} cannot be given by --build-arg");
    }
    let check = files::text(&files::path("scripts/release-check"));
    for (name, image) in all.iter().filter_map(|line| line.strip_prefix("ARG ")?.split_once('=')) {
        let (_, tag) = image.split_once(':').expect("a tag");
        assert!(tag != "latest" && !tag.is_empty(), "{image}");
        assert!(check.contains(name), "scripts/release-check does not look {name} up");
    }
}

#[test]
fn tokens_and_tls_have_one_library_of_cryptography() {
    let lock = files::text(&files::path("Cargo.lock"));
    for name in ["rsa", "p256", "p384", "ed25519-dalek", "openssl", "aws-lc-rs"] {
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name} is linked");
    }
}
