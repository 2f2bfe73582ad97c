//! The farm as its users run it: real processes on loopback, killed and
//! stopped in the middle of their work. Whatever happens, the picture has the
//! same bits.

#![cfg(unix)]

mod artist;
mod processes;
mod scene;
mod secrets;

use farm_core::scheduler::JobStatus;
use farm_core::{BlobDigest, JobSpec};

use crate::artist::Artist;
use crate::processes::{Master, Node};
use crate::scene::{picture, room};

/// Waits for a job of `spec` and returns its picture's digest.
async fn render(artist: &mut Artist, spec: JobSpec) -> BlobDigest {
    let job = artist.submit(spec).await;
    artist.finish(job).await
}

#[tokio::test]
async fn picture_is_the_same_however_the_work_is_split() {
    let master = Master::start().await;
    let mut artist = Artist::join(&master).await;
    let room = room();
    assert!(artist.upload(&room).await > 0);

    let mut nodes = vec![Node::join(&master, "first").await];
    let alone = render(&mut artist, picture(&room, 32)).await;
    assert_eq!(alone, render(&mut artist, picture(&room, 128)).await, "tiles of 128 pixels, 1 node");
    assert_eq!(artist.upload(&room).await, 0, "payload bytes of a scene that is already there");

    nodes.push(Node::join(&master, "second").await);
    assert_eq!(alone, render(&mut artist, picture(&room, 64)).await, "tiles of 64 pixels, 2 nodes");

    nodes.push(Node::join(&master, "third").await);
    nodes.push(Node::join(&master, "fourth").await);
    assert_eq!(artist.nodes().await.len(), 4);
    assert_eq!(alone, render(&mut artist, picture(&room, 32)).await, "tiles of 32 pixels, 4 nodes");

    let mut other = picture(&room, 128);
    other.settings.seed = 1;
    assert_ne!(alone, render(&mut artist, other).await, "another seed is another picture");
}

#[tokio::test]
async fn killed_node_costs_time_and_not_the_picture() {
    let master = Master::start().await;
    let mut artist = Artist::join(&master).await;
    let room = room();
    artist.upload(&room).await;
    let _survivor = Node::join(&master, "survivor").await;
    let victim = Node::join(&master, "victim").await;

    let job = artist.submit(picture(&room, 32)).await;
    artist.watch(job, |view| view.samples_done > 0).await;
    let before = artist.nodes().await;
    assert!(before.iter().all(|node| node.view.leases > 0), "both nodes work: {before:?}");
    victim.kill().await;
    let killed = artist.finish(job).await;
    assert_eq!(artist.nodes().await.len(), 1);
    assert_eq!(killed, render(&mut artist, picture(&room, 32)).await);
}

#[tokio::test]
async fn killed_master_goes_on_where_it_was() {
    let master = Master::start().await;
    let mut artist = Artist::join(&master).await;
    let room = room();
    artist.upload(&room).await;
    let _first = Node::join(&master, "first").await;
    let _second = Node::join(&master, "second").await;

    let job = artist.submit(picture(&room, 32)).await;
    let before = artist.watch(job, |view| view.samples_done > 0).await;
    assert_eq!(before.status, JobStatus::Running, "the master is killed before the job is done");
    let _master = master.kill_and_restart().await;
    let after = artist.watch(job, |_| true).await;
    assert!(after.samples_done >= before.samples_done, "every acknowledged tile is still there");
    let killed = artist.finish(job).await;
    assert_eq!(killed, render(&mut artist, picture(&room, 32)).await);
}

#[tokio::test]
async fn terminated_node_drains_and_leaves_in_order() {
    let master = Master::start().await;
    let mut artist = Artist::join(&master).await;
    let room = room();
    artist.upload(&room).await;
    let _staying = Node::join(&master, "staying").await;
    let leaving = Node::join(&master, "leaving").await;

    let job = artist.submit(picture(&room, 32)).await;
    artist.watch(job, |view| view.samples_done > 0).await;
    assert_eq!(leaving.terminate().await, Some(0));
    let view = artist.watch(job, |view| view.status == JobStatus::Done).await;
    assert_eq!(view.failures, Vec::<String>::new(), "draining is nobody's failure");
    assert_eq!(view.samples_done, view.samples);
}

#[tokio::test]
async fn node_that_joined_runs_again_without_its_ticket() {
    let master = Master::start().await;
    let mut artist = Artist::join(&master).await;
    let room = room();
    artist.upload(&room).await;
    let node = Node::join(&master, "stayer").await;
    let node = node.restart().await;
    render(&mut artist, picture(&room, 64)).await;
    assert_eq!(node.terminate().await, Some(0));
    assert_eq!(artist.nodes().await.len(), 0);
}
