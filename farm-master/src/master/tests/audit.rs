//! What the audit log has of a whole master, and what artists are held to.

use farm_wire::WireError;

use super::*;
use crate::audit::{self, Action, Actor, Outcome};
use crate::folder::DataFolder;

/// The log of a place: roles, actions and whether they were refused.
fn entries(place: &Place) -> Vec<audit::Entry> {
    let folder = DataFolder::open(place.root.path()).expect("it is there");
    let mut entries = Vec::new();
    audit::read(&folder.audit(), |_, entry| entries.push(entry.clone())).expect("it is whole");
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_what_is_written_down_also_what_is_refused() {
    let (place, master) = Place::new().await;
    let credentials = join(&master, Role::Artist).await;
    let artist = Artist::connect(&credentials).await;
    artist.upload().await;
    let job = artist.submit(job()).await;
    let node = farm_core::NodeId(7);
    let change = NodeChange::Ban;
    let refused = artist.ask(Request::ChangeNode { node, change }).await;
    assert!(matches!(refused, Response::Refused { .. }), "{refused:?}");
    let cancelled = artist.ask(Request::ChangeJob { job, change: JobChange::Cancel }).await;
    assert_eq!(cancelled, Response::Done);
    let bad =
        Ticket { secret: [0; 32], ..master.create_ticket("bad", Role::Node, HOUR, None).expect("made") };
    assert!(Credentials::join(&bad, "x").await.is_err());
    master.shutdown().await;

    let seen: Vec<_> = entries(&place)
        .into_iter()
        .map(|entry| {
            let who = match entry.who {
                Actor::Local => "local".to_owned(),
                Actor::Stranger => "stranger".to_owned(),
                Actor::Member { role, id, .. } => {
                    assert_eq!(id, format!("{:016x}", credentials.identity().id));
                    role.to_string()
                }
            };
            let what = match entry.what {
                Action::CreateTicket { name, .. } => format!("ticket {name}"),
                Action::Join { role, .. } => format!("join as {role}"),
                Action::Certify => "certificate".to_owned(),
                Action::SubmitJob { name } => format!("job {name}"),
                Action::ChangeJob { job, change } => format!("{change:?} {job}"),
                Action::ChangeNode { node, change } => format!("{change:?} {}", node.0),
                other => panic!("{other:?}"),
            };
            (who, what, entry.outcome == Outcome::Done)
        })
        .collect();
    let expected = [
        ("local", "ticket test", true),
        ("stranger", "join as artist", true),
        ("artist", "certificate", true),
        ("artist", "job test", true),
        ("artist", "Ban 7", false),
        ("artist", "Cancel 1", true),
        ("local", "ticket bad", true),
        ("stranger", "join as node", false),
    ];
    let expected = expected.map(|(who, what, done)| (who.to_owned(), what.to_owned(), done));
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn artists_are_held_to_their_quotas_and_admins_are_not() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut config = MasterConfig::new(root.path(), (Ipv4Addr::LOCALHOST, 0).into());
    config.bounds.artist.open_jobs = 1;
    config.bounds.artist.upload_bytes_per_day = SCENE.len() as u64;
    let master = Master::start(config).await.expect("the master starts");
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    let admin = Artist::connect(&join(&master, Role::Admin).await).await;
    artist.upload().await;
    let more = vec![7; SCENE.len() + 1];
    let digest = BlobDigest(*blake3::hash(&more).as_bytes());
    let refused = store_blob(&artist.client, digest, &more, |_| {}).await.expect_err("it is too much");
    assert!(matches!(&refused, WireError::Refused(reason) if reason.contains("within a day")), "{refused}");
    store_blob(&admin.client, digest, &more, |_| {}).await.expect("admins may");
    artist.submit(job()).await;
    let second = artist.ask(Request::SubmitJob { spec: Box::new(job()) }).await;
    let Response::Refused { reason, .. } = second else { panic!("{second:?}") };
    assert!(reason.contains("you already have 1 open job"), "{reason}");
    admin.submit(job()).await;
    admin.submit(job()).await;
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_renewed_by_every_role() {
    let (_place, master) = Place::new().await;
    for role in Role::ALL {
        let credentials = join(&master, role).await;
        let client = Client::connect(&credentials).await.expect("the master is there");
        if role == Role::Node {
            drop(client);
            let node = FakeNode::connect(&credentials, Vec::new()).await;
            let renewed = credentials.renew(&node.client).await.expect("a node may");
            assert_eq!(renewed.identity(), credentials.identity());
            continue;
        }
        let renewed = credentials.renew(&client).await.expect("everybody may");
        client.close().await;
        let again = Client::connect(&renewed).await.expect("it is as good");
        again.close().await;
    }
    master.shutdown().await;
}
