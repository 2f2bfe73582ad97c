//! What `farm-node` says and how it exits when it cannot work.

use assert_cmd::Command;
use farm_wire::{Role, Ticket};
use tempfile::TempDir;

/// Runs `farm-node` with folders of its own and returns its exit code and what
/// it said on stderr.
fn run(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::cargo_bin("farm-node").expect("cargo builds it for this test");
    command.args(arguments).env_remove("FARM_TICKET");
    if arguments.first() != Some(&"adapters") {
        command.arg("--data").arg(folder.path().join("key")).arg("--cache").arg(folder.path().join("cache"));
    }
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn check(arguments: &[&str], code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (found, text) = run(&folder, arguments);
    assert_eq!(found, Some(code), "{arguments:?}: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
}

fn ticket(role: Role) -> String {
    // Nobody listens on the discard port.
    let addresses = vec!["127.0.0.1:9".to_owned()];
    let ticket =
        Ticket { addresses, ca_fingerprint: [1; 32], role, id: 1, secret: [2; 32], expires_at_ms: u64::MAX };
    ticket.to_string()
}

#[test]
fn text_that_is_not_a_ticket_is_wrong_use() {
    check(&["join", "abracadabra"], 2, &["error:", "ticket", "hint:"]);
}

#[test]
fn ticket_for_people_is_wrong_use() {
    check(&["join", &ticket(Role::Artist)], 2, &["error:", "artists", "hint:", "node ticket"]);
    check(&["join", &ticket(Role::Admin)], 2, &["error:", "admins", "hint:", "node ticket"]);
}

#[test]
fn master_out_of_reach_is_its_own_exit_code() {
    check(&["join", &ticket(Role::Node)], 3, &["error: no master answers at 127.0.0.1:9", "hint:"]);
}

#[test]
fn running_before_joining_is_wrong_use() {
    check(&["run"], 2, &["error:", "hint:", "farm-node join TICKET"]);
}

#[test]
fn sizes_without_sense_are_wrong_use() {
    check(&["run", "--cache-size", "plenty"], 2, &["plenty", "500MB"]);
}

#[test]
fn damaged_key_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("key").join("credentials");
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("writable");
    std::fs::write(&path, b"rubbish").expect("writable");
    let (code, text) = run(&folder, &["run"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("credentials") && !text.contains("panicked"), "{text}");
}
