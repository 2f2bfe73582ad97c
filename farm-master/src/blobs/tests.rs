mod collect;

use super::*;

const LIMIT: u64 = 1 << 20;

fn store() -> (tempfile::TempDir, BlobStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = BlobStore::open(folder.path(), LIMIT).expect("the store opens");
    (folder, store)
}

fn digest(bytes: &[u8]) -> BlobDigest {
    BlobDigest(*blake3::hash(bytes).as_bytes())
}

fn begin(store: &BlobStore, bytes: &[u8]) -> Upload {
    match store.begin(digest(bytes), bytes.len() as u64).expect("it begins") {
        Begin::Upload(upload) => upload,
        Begin::Present => panic!("the blob is not here yet"),
    }
}

fn incoming(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join("incoming")).expect("it is there");
    entries.map(|entry| entry.expect("it is readable").path()).collect()
}

#[test]
fn stored_bytes_come_back() {
    let (folder, store) = store();
    for bytes in [&b""[..], b"a", &[7; 100_000]] {
        store.store(digest(bytes), bytes).expect("there is room");
        store.store(digest(bytes), bytes).expect("twice is harmless");
        assert_eq!(store.read(digest(bytes)).expect("it is here"), bytes);
    }
    assert!(incoming(&folder).is_empty());
}

#[test]
fn bytes_of_another_digest_are_refused() {
    let (_folder, store) = store();
    let error = store.store(digest(b"x"), b"y").expect_err("they differ");
    assert!(matches!(error, BlobError::WrongDigest { .. }), "{error}");
    assert!(!store.contains(digest(b"x")));
}

#[test]
fn rotten_blob_is_found_when_read() {
    let (_folder, store) = store();
    store.store(digest(b"good"), b"good").expect("there is room");
    fs::write(store.path(digest(b"good")), b"gone").expect("it is overwritten");
    let error = store.read(digest(b"good")).expect_err("it rotted");
    assert!(matches!(error, BlobError::WrongDigest { .. }), "{error}");
}

#[test]
fn blob_beyond_the_limit_is_refused_before_a_byte_is_taken() {
    let (folder, store) = store();
    let error = store.begin(digest(b""), LIMIT + 1).expect_err("it is too long");
    assert!(matches!(error, BlobError::TooLong { .. }), "{error}");
    assert!(incoming(&folder).is_empty());
}

#[test]
fn broken_upload_goes_on_where_it_stopped() {
    let (folder, store) = store();
    let bytes: Vec<u8> = (0..600_000_u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let mut upload = begin(&store, &bytes);
    upload.write(&bytes[..300_001]).expect("there is room");
    drop(upload);
    assert!(!store.contains(digest(&bytes)));
    drop(store);
    let store = BlobStore::open(folder.path(), LIMIT).expect("the store opens again");
    let mut upload = begin(&store, &bytes);
    assert_eq!((upload.offset(), upload.remaining()), (300_001, 299_999));
    upload.write(&bytes[300_001..]).expect("there is room");
    upload.finish().expect("it is whole");
    assert_eq!(store.read(digest(&bytes)).expect("it is here"), bytes);
    assert!(matches!(store.begin(digest(&bytes), 600_000), Ok(Begin::Present)));
    assert!(incoming(&folder).is_empty());
}

#[test]
fn upload_of_wrong_bytes_starts_over() {
    let (folder, store) = store();
    let mut upload = begin(&store, b"right");
    upload.write(b"wrong").expect("there is room");
    let error = upload.finish().expect_err("the digest is another");
    assert!(matches!(error, BlobError::WrongDigest { .. }), "{error}");
    assert!(incoming(&folder).is_empty());
    assert_eq!(begin(&store, b"right").offset(), 0);
}

#[test]
fn upload_takes_no_more_than_was_announced() {
    let (_folder, store) = store();
    let mut upload = begin(&store, b"four");
    assert!(matches!(upload.write(b"fives"), Err(BlobError::WrongLength { .. })));
    upload.write(b"fo").expect("there is room");
    assert!(matches!(upload.finish(), Err(BlobError::WrongLength { received: 2, .. })));
}

#[test]
fn two_uploads_of_one_blob_do_not_mix() {
    let (_folder, store) = store();
    let (mut first, mut second) = (begin(&store, b"blob"), begin(&store, b"blob"));
    first.write(b"bl").expect("there is room");
    second.write(b"blob").expect("there is room");
    second.finish().expect("it is whole");
    first.write(b"ob").expect("there is room");
    first.finish().expect("the name is taken by the same bytes");
    assert_eq!(store.read(digest(b"blob")).expect("it is here"), b"blob");
}

#[test]
fn temporary_files_of_a_dead_process_are_swept() {
    let (folder, store) = store();
    drop(store);
    fs::write(folder.path().join("incoming/.tmpdead"), b"half").expect("it is written");
    let _store = BlobStore::open(folder.path(), LIMIT).expect("the store opens again");
    assert!(incoming(&folder).is_empty());
}
