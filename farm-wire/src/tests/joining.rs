//! Who gets in, who does not, and what they are told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use tokio::task::JoinSet;

use super::{Farm, SECRET, seeds};
use crate::client::dial;
use crate::codec::encode;
use crate::message::{Request, Response};
use crate::{Client, Credentials, Role, SystemNetwork, WireError, tls};

fn refusal<T>(result: Result<T, WireError>) -> String {
    match result {
        Err(WireError::Refused(reason)) => reason,
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn a_ticket_becomes_credentials_and_they_a_connection() {
    let farm = Farm::start();
    for role in Role::ALL {
        let credentials = Credentials::join(&farm.ticket(role), "Größe 7").await.expect("joined");
        let (client, peer) = farm.connect(&credentials).await;
        assert_eq!(peer.identity(), credentials.identity());
        assert_eq!((peer.identity().role, peer.identity().name.as_str()), (role, "Größe 7"));
        assert_eq!(client.address(), farm.address());
        assert_eq!(client.master_version(), env!("CARGO_PKG_VERSION"));
        assert_eq!(farm.book.joined.lock().expect("whole").last(), Some(credentials.identity()));
    }
    let joined = farm.book.joined.lock().expect("whole");
    assert_ne!(joined[0].id, joined[1].id);
}

#[tokio::test]
async fn credentials_survive_their_file() {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("deep/credentials.pem");
    let mut credentials = farm.credentials(Role::Artist).await;
    credentials.save(&path).expect("writable");
    let loaded = Credentials::load(&path).expect("readable");
    assert_eq!(loaded.identity(), credentials.identity());
    assert_eq!(loaded.addresses(), credentials.addresses());
    let (_client, peer) = farm.connect(&loaded).await;
    assert_eq!(peer.identity(), credentials.identity());
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_credentials() {
    use std::os::unix::fs::PermissionsExt;
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("credentials.pem");
    farm.credentials(Role::Node).await.save(&path).expect("writable");
    let mode = std::fs::metadata(&path).expect("present").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_bad_credentials_file_is_named() {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("credentials.pem");
    let problem = || {
        let error = Credentials::load(&path).expect_err("bad").to_string();
        assert!(error.starts_with(path.to_str().expect("ours is UTF-8")), "{error}");
        error
    };
    problem();
    farm.credentials(Role::Node).await.save(&path).expect("writable");
    let text = std::fs::read_to_string(&path).expect("readable");
    for (from, to) in [("version 1", "version 2"), ("address: ", "location: "), ("PRIVATE", "PUBLIC")] {
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, to)).expect("writable");
        problem();
    }
    std::fs::write(&path, &text[..text.len() / 2]).expect("writable");
    problem();
    std::fs::write(&path, b"\xff\xfe").expect("writable");
    problem();
}

#[tokio::test]
async fn debug_shows_no_key() {
    let credentials = Farm::start().credentials(Role::Node).await;
    let text = format!("{credentials:?}");
    assert!(text.contains("somebody") && !text.contains("key"), "{text}");
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let farm = Farm::start();
    let mut ticket = farm.ticket(Role::Node);
    ticket.secret[31] ^= 1;
    assert!(refusal(Credentials::join(&ticket, "x").await).contains("not known here"));
    assert!(farm.book.joined.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn an_expired_ticket_is_refused_before_it_is_sent() {
    let farm = Farm::start();
    let mut ticket = farm.ticket(Role::Node);
    ticket.expires_at_ms = 1_700_000_000_000;
    let reason = refusal(Credentials::join(&ticket, "x").await);
    assert!(reason.contains("expired") && reason.contains("days ago"), "{reason}");
    assert_eq!(*farm.book.redeemed.lock().expect("whole"), 0);
}

#[tokio::test]
async fn a_bad_name_is_refused_on_both_sides() {
    let farm = Farm::start();
    let reason = refusal(Credentials::join(&farm.ticket(Role::Node), "a\u{1b}[2J").await);
    assert!(reason.contains("printable"), "{reason}");
    assert_eq!(*farm.book.redeemed.lock().expect("whole"), 0);
}

#[tokio::test]
async fn another_authority_never_hears_the_secret() {
    let (ours, other) = (Farm::start(), Farm::start());
    let mut ticket = ours.ticket(Role::Node);
    ticket.addresses = vec![other.address().to_string()];
    let reason = refusal(Credentials::join(&ticket, "x").await);
    assert!(reason.contains("not the master of our ticket"), "{reason}");
    assert_eq!(*other.book.redeemed.lock().expect("whole"), 0);
}

#[tokio::test]
async fn credentials_are_not_shown_to_another_master() {
    let (ours, other) = (Farm::start(), Farm::start());
    let credentials = ours.credentials(Role::Node).await.at(vec![other.address().to_string()]);
    let reason = refusal(Client::connect(&credentials).await);
    assert!(reason.contains("not the master of our certificate"), "{reason}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (ours, other) = (Farm::start(), Farm::start());
    let stranger = ours.credentials(Role::Node).await;
    // It trusts the other master, but has nothing that this one trusts.
    let stranger = stranger.trusting(other.authority.certificate()).at(vec![other.address().to_string()]);
    let reason = refusal(Client::connect(&stranger).await);
    assert!(reason.contains("does not know our certificate"), "{reason}");
}

#[tokio::test]
async fn farm_needs_a_certificate() {
    let farm = Farm::start();
    let mut roots = RootCertStore::empty();
    roots.add(farm.authority.certificate().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![tls::FARM.to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).expect("TLS 1.3");
    let config = quinn::ClientConfig::new(Arc::new(config));
    let (_endpoint, connection) =
        dial(&SystemNetwork, farm.address(), config, "nothing").await.expect("shaken hands");
    let error = WireError::from_connection(connection.closed().await);
    assert!(
        matches!(&error, WireError::Refused(reason) if reason.contains("needs a certificate")),
        "{error}"
    );
}

#[tokio::test]
async fn a_foreign_protocol_is_refused() {
    let farm = Farm::start();
    let credentials = farm.credentials(Role::Node).await;
    let config = credentials.client_config_for(b"farm/999").expect("usable");
    let Err(error) = dial(&SystemNetwork, farm.address(), config, "certificate").await else {
        panic!("not refused")
    };
    assert!(error.to_string().contains("does not speak our protocol"), "{error}");
}

#[tokio::test]
async fn a_revoked_identity_is_told_so() {
    let farm = Farm::start();
    let credentials = farm.credentials(Role::Node).await;
    farm.book.revoked.lock().expect("whole").insert(credentials.identity().id);
    assert!(refusal(Client::connect(&credentials).await).contains("revoked"));
}

#[tokio::test]
async fn addresses_are_tried_in_turn_and_all_named() {
    let farm = Farm::start();
    let nowhere = || ["127.0.0.1:0".to_owned(), "no-port".to_owned()];
    let mut ticket = farm.ticket(Role::Node);
    ticket.addresses = nowhere().into_iter().chain(ticket.addresses).collect();
    let credentials = Credentials::join(&ticket, "x").await.expect("the last address is right");
    assert_eq!(credentials.addresses(), ticket.addresses);
    farm.connect(&credentials).await;
    let error = Client::connect(&credentials.at(nowhere().into())).await.err().expect("nobody there");
    assert_eq!(error.to_string(), "no master answers at 127.0.0.1:0, no-port");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_joins_at_once_are_put_off() {
    let farm = Farm::start();
    let mut joins = JoinSet::new();
    let book = farm.book.clone();
    let gate = tokio::task::spawn_blocking(move || {
        // Held in a thread of its own until every other join waits for it.
        let (hold, released) = std::sync::mpsc::channel::<()>();
        let (held, is_held) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _gate = book.gate.lock().expect("whole");
            held.send(()).expect("awaited");
            released.recv().expect_err("the test only ever drops its end");
        });
        is_held.recv().expect("locked");
        hold
    });
    let gate = gate.await.expect("locked");
    for _ in 0..=crate::server::MAX_JOINS {
        let ticket = farm.ticket(Role::Node);
        joins.spawn(async move { Credentials::join(&ticket, "x").await });
    }
    let first = joins.join_next().await.expect("there are some").expect("no panic");
    assert!(refusal(first).contains("too many join at once"));
    drop(gate);
    while let Some(joined) = joins.join_next().await {
        joined.expect("no panic").expect("its turn came");
    }
}

#[tokio::test]
async fn address_that_joins_too_often_is_put_off() {
    let farm = Farm::start();
    let mut ticket = farm.ticket(Role::Node);
    ticket.secret = [0; 32];
    let share = crate::server::JOIN_SHARE.burst.get();
    // One more a second comes on top, for as long as the share lasts.
    let mut refusals = Vec::new();
    while refusals.len() < 2 * share as usize {
        refusals.push(refusal(Credentials::join(&ticket, "x").await));
        if refusals.last().is_some_and(|reason| reason.contains("from this address")) {
            break;
        }
    }
    assert!(refusals.len() > share as usize && refusals.len() < 2 * share as usize, "{}", refusals.len());
    let redeemed = *farm.book.redeemed.lock().expect("whole");
    assert_eq!(redeemed as usize, refusals.len() - 1, "the book was not asked about the last one");
    assert!(refusals[0].contains("not known here"), "{}", refusals[0]);
}

#[tokio::test]
async fn a_join_is_bounded() {
    let farm = Farm::start();
    let config = tls::joiner(farm.authority.fingerprint()).expect("usable");
    let (_endpoint, connection) =
        dial(&SystemNetwork, farm.address(), config, "ticket").await.expect("shaken hands");
    let (mut send, _recv) = connection.open_bi().await.expect("connected");
    send.write_all(&(1u32 << 20).to_be_bytes()).await.expect("connected");
    let error = WireError::from_connection(connection.closed().await).to_string();
    assert!(error.contains("over the limit"), "{error}");
}

#[tokio::test]
async fn a_good_secret_needs_a_good_signing_request() {
    let farm = Farm::start();
    let request = |signing_request: &[u8]| crate::admission::JoinRequest {
        ticket: super::TICKET,
        secret: SECRET.into(),
        role: Role::Node,
        name: "x".into(),
        signing_request: signing_request.to_vec().into(),
    };
    let key = rcgen::KeyPair::generate().expect("there is randomness");
    let good = rcgen::CertificateParams::default().serialize_request(&key).expect("it can be written");
    let good = request(good.der());
    seeds::write("join", &[&[0], &*encode(&good)].concat());
    seeds::write("join", &[&[1], &**good.signing_request].concat());
    seeds::write("ticket", &[&[0], farm.ticket(Role::Node).to_string().as_bytes()].concat());
    let error =
        crate::credentials::exchange(&SystemNetwork, &farm.ticket(Role::Node), &request(&[0x30; 100])).await;
    assert!(refusal(error).contains("signing request"));
    assert!(farm.book.joined.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn certificate_is_renewed_with_another_key_for_the_same_identity() {
    let farm = Farm::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("credentials.pem");
    let mut earlier = farm.credentials(Role::Node).await;
    earlier.save(&path).expect("writable");
    assert!(!earlier.until_renewal().is_zero(), "it has just been made");
    let (client, peer) = farm.connect(&earlier).await;
    let answering = async {
        let (mut send, mut recv) = peer.accept_stream().await.expect("connected");
        let request = recv.receive().await.expect("connected");
        let Some(Request::RenewCertificate { signing_request }) = request else { panic!("{request:?}") };
        let certificate = peer.certify(signing_request.into_vec()).await.expect("it is a good request");
        send.send(&Response::Renewed { certificate: certificate.into() }).await.expect("connected");
    };
    let (renewed, ()) = tokio::join!(earlier.renew(&client), answering);
    let renewed = renewed.expect("it is renewed");
    assert_eq!(renewed.identity(), earlier.identity());
    assert_ne!(renewed.certificate(), earlier.certificate());
    assert_eq!(Credentials::load(&path).expect("readable").certificate(), renewed.certificate());
    let (_client, peer) = farm.connect(&renewed).await;
    assert_eq!(peer.identity(), earlier.identity());
    let (_client, peer) = farm.connect(&earlier).await;
    assert_eq!(peer.identity(), earlier.identity(), "it is good as long as it was");
}

#[test]
fn certificate_is_due_when_half_of_its_life_is_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = crate::CertificateAuthority::open_or_create(folder.path()).expect("made");
    let key = rcgen::KeyPair::generate().expect("there is randomness");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("it can be written");
    let identity = crate::Identity { role: Role::Node, id: 7, name: "x".into() };
    for days in [1, 14, 365] {
        let life = Duration::from_secs(days * 24 * 3600);
        let authority = authority.clone().certifying_for(life);
        let made = SystemTime::now();
        let certificate = authority.certify_peer(request.der(), &identity).expect("certified");
        let due = crate::renewal::due_at(&certificate).duration_since(made).expect("later");
        assert!(due.abs_diff(life / 2) <= Duration::from_secs(2), "{due:?} of {life:?}");
    }
    assert_eq!(crate::renewal::due_at(b"nonsense"), SystemTime::UNIX_EPOCH);
}
