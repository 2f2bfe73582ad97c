use std::fs;

use farm_wire::Role;

use super::*;

struct Log {
    log: AuditLog,
    _folder: tempfile::TempDir,
}

impl Log {
    /// A log of five entries.
    fn of_five() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = AuditLog::new(folder.path().join("audit.jsonl"));
        for name in ["anna", "ben \"quoted\", \"chain\":\"", "ä\n", "", "eve"] {
            let what = Action::CreateTicket { ticket: "1f".into(), name: name.into(), role: Role::Node };
            log.append(Actor::Local, what, Outcome::Done);
        }
        Self { log, _folder: folder }
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log.path()).expect("it is there");
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        fs::write(self.log.path(), lines.join("\n") + "\n").expect("it is writable");
    }

    fn broken_line(&self) -> Option<u64> {
        match verify(self.log.path()) {
            Ok(_) => None,
            Err(AuditError::Broken { line, .. }) => Some(line),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn entries_are_read_as_they_were_written() {
    let log = Log::of_five();
    let mut names = Vec::new();
    let end = read(log.log.path(), |_, entry| match &entry.what {
        Action::CreateTicket { name, .. } => names.push((entry.number, name.clone())),
        other => panic!("{other:?}"),
    });
    let end = end.expect("it is whole");
    assert_eq!(names[1], (2, "ben \"quoted\", \"chain\":\"".to_owned()));
    assert_eq!((names.len(), end.number), (5, 5));
    assert!(log.lines()[4].contains(&end.chain));
    assert_eq!(verify(Path::new("/nowhere/audit.jsonl")).expect("nothing was done yet").number, 0);
}

#[test]
fn whatever_is_changed_left_out_or_moved_is_found() {
    let log = Log::of_five();
    let lines = log.lines();
    for (place, from, to) in
        [(0, "anna", "anne"), (2, "\"role\":\"node\"", "\"role\":\"admin\""), (4, "1f", "1e")]
    {
        let mut changed = lines.clone();
        changed[place] = changed[place].replacen(from, to, 1);
        assert_ne!(changed, lines);
        log.write(&changed);
        assert_eq!(log.broken_line(), Some(place as u64 + 1), "{from}");
    }
    let mut without = lines.clone();
    without.remove(1);
    log.write(&without);
    assert_eq!(log.broken_line(), Some(2));
    let mut moved = lines.clone();
    moved.swap(1, 2);
    log.write(&moved);
    assert_eq!(log.broken_line(), Some(2));
    let mut twice = lines.clone();
    twice.insert(3, lines[2].clone());
    log.write(&twice);
    assert_eq!(log.broken_line(), Some(4));
    log.write(&lines);
    assert_eq!(log.broken_line(), None);
}

#[test]
fn half_a_line_at_the_end_is_taken_away_by_the_next() {
    let log = Log::of_five();
    let whole = fs::read(log.log.path()).expect("it is there");
    let last = whole.iter().take(whole.len() - 1).rposition(|byte| *byte == b'\n').expect("there are five");
    fs::write(log.log.path(), &whole[..last + 30]).expect("it is writable");
    assert_eq!(verify(log.log.path()).expect("what is whole is right").number, 4);
    log.log.append(Actor::Stranger, Action::Certify, Outcome::Refused("no".into()));
    assert_eq!(verify(log.log.path()).expect("it goes on").number, 5);
    assert!(log.lines()[4].contains("stranger"));
}

#[test]
fn several_writers_take_turns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.jsonl");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let log = AuditLog::new(path.clone());
                for _ in 0..10 {
                    log.append(Actor::Local, Action::Certify, Outcome::Done);
                }
            });
        }
    });
    assert_eq!(verify(&path).expect("it is whole").number, 40);
}

#[test]
fn entries_that_could_not_be_written_are_counted_by_the_next() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("later/audit.jsonl");
    let log = AuditLog::new(path.clone());
    for _ in 0..3 {
        log.append(Actor::Local, Action::Certify, Outcome::Done);
    }
    fs::create_dir(folder.path().join("later")).expect("it is writable");
    for _ in 0..2 {
        log.append(Actor::Local, Action::Certify, Outcome::Done);
    }
    let mut missed = Vec::new();
    read(&path, |_, entry| missed.push(entry.missed)).expect("it is whole");
    assert_eq!(missed, [3, 0]);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let log = Log::of_five();
    let mode = fs::metadata(log.log.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
