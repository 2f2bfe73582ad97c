//! Claims about what is collected, and what never is.

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn put(store: &BlobStore, value: u8) -> BlobDigest {
    let bytes = [value; 10];
    store.store(digest(&bytes), &bytes).expect("there is room");
    digest(&bytes)
}

/// Lets time pass for every blob.
fn age(store: &BlobStore, by: Duration, blobs: &[BlobDigest]) {
    for blob in blobs.iter().filter(|blob| store.contains(**blob)) {
        let file = OpenOptions::new().write(true).open(store.path(*blob)).expect("it is here");
        let changed = file.metadata().and_then(|metadata| metadata.modified()).expect("it has a time");
        file.set_modified(changed - by).expect("there is room");
    }
}

fn collect(store: &BlobStore, named: &[BlobDigest], bytes: u64) -> Collected {
    let named = named.iter().copied().collect();
    let keep = Keep { grace: HOUR, bytes };
    store.collect(&named, keep, SystemTime::now(), false).expect("the disk works")
}

#[test]
fn named_and_young_blobs_stay_and_the_longest_unwanted_go() {
    let (_folder, store) = store();
    let [named, first, second, young] = [1, 2, 3, 4].map(|value| put(&store, value));
    age(&store, 3 * HOUR, &[named, first]);
    age(&store, 2 * HOUR, &[second]);
    age(&store, HOUR / 2, &[young]);
    let amount = |blobs| Amount { blobs, bytes: blobs * 10 };
    let found =
        store.collect(&BTreeSet::from([named]), Keep { grace: HOUR, bytes: 0 }, SystemTime::now(), true);
    let would = Collected { named: amount(1), kept: amount(1), removed: amount(2) };
    assert_eq!(found.expect("the disk works"), would);
    assert!(store.missing(&[named, young]).is_empty() && store.contains(first), "it was a dry run");
    assert_eq!(collect(&store, &[named], 29).removed, amount(1));
    assert!(!store.contains(first) && store.contains(second), "the longest unwanted went");
    assert_eq!(collect(&store, &[named], 20).removed, amount(0), "so much may stay");
    assert_eq!(collect(&store, &[named], 0).removed, amount(1));
    assert!(store.contains(young) && store.contains(named));
}

#[test]
fn asking_for_a_blob_or_storing_it_again_keeps_it() {
    let (_folder, store) = store();
    let blobs = [1, 2, 3, 4].map(|value| put(&store, value));
    age(&store, 2 * HOUR, &blobs);
    assert!(store.missing(&blobs[..1]).is_empty());
    put(&store, 2);
    assert!(matches!(store.begin(blobs[2], 10), Ok(Begin::Present)));
    assert_eq!(collect(&store, &[], 0).removed.blobs, 1);
    assert_eq!(blobs.map(|blob| store.contains(blob)), [true, true, true, false]);
}

#[test]
fn blob_that_is_asked_for_after_it_was_looked_at_stays() {
    let (_folder, store) = store();
    let blob = put(&store, 1);
    age(&store, 2 * HOUR, &[blob]);
    let looked_at = || {
        let path = store.path(blob);
        let changed = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("it is here");
        crate::blobs::collect::Unnamed { changed, path, bytes: 10 }
    };
    let early = looked_at();
    assert!(store.missing(&[blob]).is_empty());
    assert!(!store.remove_unchanged(&early).expect("the disk works") && store.contains(blob));
    assert!(store.remove_unchanged(&looked_at()).expect("the disk works") && !store.contains(blob));
    assert!(!store.remove_unchanged(&early).expect("it is gone already"));
}

#[test]
fn upload_that_took_days_is_young_when_it_is_whole() {
    let (_folder, store) = store();
    let mut upload = begin(&store, b"slow");
    upload.write(b"slow").expect("there is room");
    let part = OpenOptions::new().write(true).open(store.part(digest(b"slow"))).expect("it is there");
    part.set_modified(SystemTime::now() - 50 * HOUR).expect("there is room");
    upload.finish().expect("it is whole");
    assert_eq!(collect(&store, &[], 0).removed.blobs, 0);
}

#[test]
fn partial_uploads_and_foreign_files_are_left_alone() {
    let (folder, store) = store();
    begin(&store, b"half").write(b"ha").expect("there is room");
    put(&store, 1);
    fs::write(folder.path().join("ab"), b"a file where a shelf would be").expect("there is room");
    fs::create_dir_all(folder.path().join("zz")).expect("there is room");
    fs::write(folder.path().join("zz/note"), b"somebody's").expect("there is room");
    collect(&store, &[], 0);
    assert_eq!(begin(&store, b"half").offset(), 2);
    assert!(folder.path().join("zz/note").exists() && folder.path().join("ab").exists());
}

/// What happens around a store.
#[derive(Clone, Debug)]
enum Step {
    Upload(u8),
    /// An artist asks what is missing, and submits if nothing is.
    Submit(u8),
    /// A job is over.
    End(u8),
    /// The collector asks which blobs are named.
    Ask,
    /// It collects by what it was told.
    Collect(u64),
    /// Minutes pass.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let blob = 0u8..6;
    prop_oneof![
        blob.clone().prop_map(Step::Upload),
        blob.clone().prop_map(Step::Submit),
        blob.prop_map(Step::End),
        Just(Step::Ask),
        (0u64..40).prop_map(Step::Collect),
        (1u64..100).prop_map(Step::Wait),
    ]
}

/// Whatever happens between asking for the names and collecting by them, what
/// is named stays, and so does what somebody was told is here within the grace
/// time.
#[test]
fn nothing_named_or_just_promised_is_ever_collected() {
    let blobs: Vec<BlobDigest> = (0..6).map(|value| digest(&[value; 10])).collect();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        let (_folder, store) = store();
        let mut named: Vec<BlobDigest> = Vec::new();
        let mut told = None;
        // Minutes since somebody was told that the blob is here.
        let mut promised = [u64::MAX; 6];
        for step in steps {
            match step {
                Step::Upload(value) => {
                    put(&store, value);
                    promised[usize::from(value)] = 0;
                }
                Step::Submit(value) => {
                    let blob = blobs[usize::from(value)];
                    if store.missing(&[blob]).is_empty() {
                        promised[usize::from(value)] = 0;
                        named.push(blob);
                    }
                }
                Step::End(value) => named.retain(|blob| *blob != blobs[usize::from(value)]),
                Step::Ask => told = Some(named.clone()),
                Step::Collect(bytes) => {
                    if let Some(told) = told.take() {
                        collect(&store, &told, bytes);
                    }
                }
                Step::Wait(minutes) => {
                    age(&store, Duration::from_secs(minutes * 60), &blobs);
                    promised = promised.map(|since| since.saturating_add(minutes));
                    told = None; // A collection takes seconds.
                }
            }
            prop_assert!(named.iter().all(|blob| store.contains(*blob)), "a named blob is gone");
            for (blob, since) in blobs.iter().zip(promised) {
                prop_assert!(since >= 60 || store.contains(*blob), "a promised blob is gone");
            }
        }
    });
}
