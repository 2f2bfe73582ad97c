//! Secrets stay where they belong: they are in no log, at any level, and in no file
//! but their own.

use std::fs;
use std::path::{Path, PathBuf};

use farm_wire::Ticket;

use crate::artist::Artist;
use crate::processes::{Master, Node};
use crate::render;
use crate::scene::{picture, room};

/// Bytes that must be nowhere, with what they are.
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

/// A secret in the forms in which it might slip out.
fn forms(what: &str, secret: &[u8]) -> Vec<Needle> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    [
        ("raw", secret.to_vec()),
        ("hex", hex.clone().into()),
        ("HEX", hex.to_uppercase().into()),
        ("list", list.into()),
    ]
    .into_iter()
    .map(|(form, bytes)| Needle { what: format!("{what}, {form}"), bytes })
    .collect()
}

/// The lines of a file's private key, which is base64 over several of them.
fn key_lines(file: &Path) -> Vec<Needle> {
    let text = fs::read_to_string(file).expect("the file is there");
    let key = text.split("-----BEGIN PRIVATE KEY-----").nth(1).expect("it has a key");
    let key = key.split("-----END").next().expect("the key ends");
    let lines: Vec<_> = key.lines().filter(|line| line.len() >= 40).collect();
    assert!(!lines.is_empty(), "{text}");
    let needle = |line: &&str| Needle {
        what: format!("the key of {}", file.display()),
        bytes: line.as_bytes().to_vec(),
    };
    lines.iter().map(needle).collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.expect("it is readable"));
    entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn secrets_are_in_no_log_and_in_no_file_but_their_own() {
    let master = Master::start_at("trace").await;
    let mut artist = Artist::join(&master).await;
    let room = room();
    artist.upload(&room).await;
    let node = Node::join_at("trace", &master, "watched").await;
    render(&mut artist, picture(&room, 64)).await;

    let mut needles = Vec::new();
    for text in [master.node_ticket(), master.artist_ticket()] {
        let ticket: Ticket = text.parse().expect("the master prints tickets");
        needles.extend(forms("a ticket's secret", &ticket.secret));
        // Version, length, role and number are before the secret in the text.
        let inside: String = text["tessera-".len()..].chars().skip(24).take(40).collect();
        needles.push(Needle { what: "a ticket's text".into(), bytes: inside.into() });
    }
    let authority = master.data().join("ca/authority.pem");
    let credentials = node.folder().join("key/credentials");
    needles.extend(key_lines(&authority));
    needles.extend(key_lines(&credentials));

    let mut texts = vec![("the master's log".to_owned(), master.log().into_bytes())];
    texts.push(("the node's log".to_owned(), node.log().into_bytes()));
    for (name, log) in &texts {
        assert!(holds(log, b"TRACE"), "{name} is as loud as it gets");
    }
    for file in [master.data(), node.folder().to_owned()].iter().flat_map(|folder| files_in(folder)) {
        if file != authority && file != credentials {
            let bytes = fs::read(&file).expect("it is readable");
            texts.push((file.display().to_string(), bytes));
        }
    }
    for (name, text) in &texts {
        let slipped = needles.iter().find(|needle| holds(text, &needle.bytes));
        assert!(slipped.is_none(), "{} is in {name}", slipped.map_or("", |needle| &needle.what));
    }
}
