//! What `fanfare` generates from its own commands: completions and man pages.

use std::io::Write;
use std::process::{Command, Stdio};

use fanfare_testkit::binary;

const COMMANDS: [&str; 6] = ["serve", "publish", "listen", "dead", "completions", "man"];

fn output(args: &[&str]) -> String {
    let done = binary::command().args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Runs a program with this text as its input. Returns what it wrote to stdout and to stderr.
fn fed(program: &str, args: &[&str], text: &str) -> (String, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let (mut input, text) = (child.stdin.take().unwrap(), text.to_owned());
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "{program}: {err}");
    (out, err)
}

/// Returns what bash offers after these words, the last of which is being typed.
fn offered(words: &[&str]) -> Vec<String> {
    let script = output(&["completions", "bash"]);
    let last = words.len() - 1;
    let ask = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n_fanfare fanfare '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words[last],
        words[last - 1],
    );
    fed("bash", &["--noprofile", "--norc"], &ask).0.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(offered(&["fanfare", "publ"]), ["publish"]);
    let commands = offered(&["fanfare", ""]);
    for command in COMMANDS {
        assert!(commands.iter().any(|one| one == command), "no {command} in {commands:?}");
    }
    assert_eq!(offered(&["fanfare", "dead", "req"]), ["requeue"]);
    assert_eq!(offered(&["fanfare", "serve", "--lis"]), ["--listen"]);
    assert_eq!(offered(&["fanfare", "completions", "z"]), ["zsh"]);
}

#[test]
fn there_is_a_script_for_each_shell() {
    for (shell, mark) in [
        ("zsh", "#compdef fanfare"),
        ("fish", "complete -c fanfare"),
        ("elvish", "fanfare"),
        ("powershell", "fanfare"),
    ] {
        let script = output(&["completions", shell]);
        assert!(script.contains(mark), "{shell}");
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: no {command}");
        }
    }
    let done = binary::command().args(["completions", "csh"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("zsh"), "it names the shells that it knows");
}

/// Returns the words of a man page as `man` shows them.
fn rendered(page: &str) -> String {
    // UTF-8 both ways, without overstrikes and hyphenation, with all warnings.
    let (text, warnings) = fed("groff", &["-man", "-k", "-Tutf8", "-P-cbou", "-rHY=0", "-ww"], page);
    assert_eq!(warnings, "", "{page}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_command_has_a_man_page_that_renders_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("man1");
    output(&["man", "--out", place.to_str().unwrap()]);
    let mut names: Vec<_> = std::fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["fanfare.1", "fanfare-serve.1", "fanfare-dead-requeue.1", "fanfare-token-check.1"] {
        assert!(names.iter().any(|one| one == name), "no {name} in {names:?}");
    }
    for name in &names {
        let text = rendered(&std::fs::read_to_string(place.join(name)).unwrap());
        assert!(text.contains("SYNOPSIS fanfare "), "{name}: {text}");
    }
}

#[test]
fn a_page_is_found_by_the_words_of_its_command() {
    let page = |words: &[&str]| rendered(&output(&[&["man"], words].concat()));
    assert!(page(&[]).contains("fanfare - Server-sent events"));
    let serve = page(&["serve"]);
    assert!(serve.contains("fanfare-serve - Run a node") && serve.contains("--listen"), "{serve}");
    assert!(
        page(&["dead", "requeue"]).contains("fanfare dead requeue"),
        "the synopsis has the whole command"
    );
    let done = binary::command().args(["man", "dead", "revive"]).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("there is no command `fanfare dead revive`"), "{said}");
}
