//! What each may, asked over the wire of a whole master; and that somebody
//! revoked may nothing any more.

use farm_core::OwnerId;
use farm_wire::WireError;

use super::*;

/// What has not happened after this never will: a bound for a test that would hang.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// How a request is answered, as far as rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is let through, whatever comes of it.
    Answered,
    /// As if there were no such job.
    NoSuchJob,
    /// It is an admin's.
    AdminsOnly,
    /// Nodes may not ask this.
    NotForNodes,
}
use Seen::{AdminsOnly, Answered, NoSuchJob, NotForNodes};

impl Seen {
    fn of(response: &Response, job: JobId) -> Self {
        let Response::Refused { reason, .. } = response else { return Answered };
        match reason.as_str() {
            "nodes may only fetch blobs" => NotForNodes,
            reason if reason.starts_with("no job of this node has the blob") => NotForNodes,
            reason if reason.starts_with("only an admin may") => AdminsOnly,
            reason if *reason == format!("you have no job {job}") => NoSuchJob,
            _ => Answered,
        }
    }
}

/// What is right for a node, an artist whose job it is not, the job's owner and an
/// admin. A new request does not compile until it has its row.
fn right(request: &Request) -> [Seen; 4] {
    match request {
        Request::FindMissing { .. } => [NotForNodes, Answered, Answered, Answered],
        Request::StoreBlob { .. } => [NotForNodes, Answered, Answered, Answered],
        Request::FetchBlob { .. } => [NotForNodes, Answered, Answered, Answered],
        Request::SubmitJob { .. } => [NotForNodes, Answered, Answered, Answered],
        Request::ListJobs => [NotForNodes, Answered, Answered, Answered],
        Request::ListNodes => [NotForNodes, Answered, Answered, Answered],
        Request::RenewCertificate { .. } => [Answered; 4],
        Request::WatchJob { .. } => [NotForNodes, NoSuchJob, Answered, Answered],
        Request::FetchFrame { .. } => [NotForNodes, NoSuchJob, Answered, Answered],
        Request::ChangeJob { change, .. } => match change {
            JobChange::Pause => [NotForNodes, NoSuchJob, Answered, Answered],
            JobChange::Resume => [NotForNodes, NoSuchJob, Answered, Answered],
            JobChange::Cancel => [NotForNodes, NoSuchJob, Answered, Answered],
            JobChange::Retry => [NotForNodes, NoSuchJob, Answered, Answered],
            JobChange::Rerender { .. } => [NotForNodes, NoSuchJob, Answered, Answered],
            JobChange::Prioritize { .. } => [NotForNodes, NoSuchJob, Answered, Answered],
            JobChange::Weigh { .. } => [NotForNodes, NoSuchJob, Answered, Answered],
        },
        Request::ChangeNode { change, .. } => match change {
            NodeChange::Drain => [NotForNodes, AdminsOnly, AdminsOnly, Answered],
            NodeChange::Undrain => [NotForNodes, AdminsOnly, AdminsOnly, Answered],
            NodeChange::Ban => [NotForNodes, AdminsOnly, AdminsOnly, Answered],
            NodeChange::Forgive => [NotForNodes, AdminsOnly, AdminsOnly, Answered],
        },
    }
}

/// One of each, cancelling last.
fn requests(of: JobId) -> Vec<Request> {
    let digest = job().scene;
    let (file, precision, frame) = (FrameFile::Exr, Precision::Float, FrameNumber(1));
    let frames = FrameRange { first: frame, last: frame };
    let changes = [
        JobChange::Pause,
        JobChange::Resume,
        JobChange::Retry,
        JobChange::Rerender { frames, region: None },
        JobChange::Prioritize { priority: 3 },
        JobChange::Weigh { weight: 2 },
        JobChange::Cancel,
    ];
    let node = farm_core::NodeId(1);
    let nodes = [NodeChange::Drain, NodeChange::Undrain, NodeChange::Ban, NodeChange::Forgive];
    let mut all = vec![
        Request::FindMissing { digests: vec![digest] },
        Request::StoreBlob { digest, length: SCENE.len() as u64 },
        Request::FetchBlob { digest, offset: 0 },
        Request::SubmitJob { spec: Box::new(job()) },
        Request::ListJobs,
        Request::ListNodes,
        Request::RenewCertificate { signing_request: vec![0x30; 100].into() },
        Request::WatchJob { job: of },
        Request::FetchFrame { job: of, frame, file, precision },
    ];
    all.extend(nodes.map(|change| Request::ChangeNode { node, change }));
    all.extend(changes.map(|change| Request::ChangeJob { job: of, change }));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_what_their_role_says_and_nothing_else() {
    let (_place, master) = Place::new().await;
    let owner = Artist::connect(&join(&master, Role::Artist).await).await;
    let stranger = Artist::connect(&join(&master, Role::Artist).await).await;
    let admin = Artist::connect(&join(&master, Role::Admin).await).await;
    owner.upload().await;
    // Paused, so that the node is told of no job.
    let job = owner.submit(job()).await;
    assert_eq!(owner.ask(Request::ChangeJob { job, change: JobChange::Pause }).await, Response::Done);
    let connected = FakeNode::connect(&join(&master, Role::Node).await, Vec::new()).await;
    let node = Artist { client: connected.client.clone() };
    for request in requests(job) {
        let mut seen = Vec::new();
        for asker in [&node, &stranger, &owner, &admin] {
            seen.push(Seen::of(&asker.ask(request.clone()).await, job));
        }
        assert_eq!(seen, right(&request), "{request:?}");
    }
    drop(connected);
    master.shutdown().await;
}

async fn listed(asker: &Artist) -> Vec<(JobId, Option<OwnerId>)> {
    let response = asker.ask(Request::ListJobs).await;
    let Response::Jobs { jobs, .. } = response else { panic!("{response:?}") };
    jobs.iter().map(|job| (job.job, job.owner)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn artists_see_their_own_jobs_and_admins_all_through_a_restart() {
    let (place, master) = Place::new().await;
    let anna = join(&master, Role::Artist).await;
    let otto = join(&master, Role::Artist).await;
    let admin = join(&master, Role::Admin).await;
    let [first, second] = [(JobId(1), &anna), (JobId(2), &otto)]
        .map(|(job, artist)| (job, Some(OwnerId(artist.identity().id))));
    let submitter = Artist::connect(&anna).await;
    submitter.upload().await;
    assert_eq!(submitter.submit(job()).await, first.0);
    assert_eq!(Artist::connect(&otto).await.submit(job()).await, second.0);
    master.shutdown().await;

    let master = place.start().await;
    for (credentials, jobs) in [(&anna, vec![first]), (&otto, vec![second]), (&admin, vec![first, second])] {
        assert_eq!(listed(&Artist::connect(credentials).await).await, jobs);
    }
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_another_looks_like_one_that_is_not_there() {
    let (_place, master) = Place::new().await;
    let owner = Artist::connect(&join(&master, Role::Artist).await).await;
    let stranger = Artist::connect(&join(&master, Role::Artist).await).await;
    owner.upload().await;
    let theirs = owner.submit(job()).await;
    let nobodys = JobId(77);
    let told = async |job: JobId, request: Request| {
        let response = stranger.ask(request).await;
        let Response::Refused { reason, hint } = response else { panic!("{response:?}") };
        (reason.replace(&job.to_string(), "N"), hint)
    };
    let of_theirs = requests(theirs).into_iter().zip(requests(nobodys));
    let of_jobs = of_theirs.filter(|(request, _)| right(request)[1] == NoSuchJob);
    for (theirs_asked, nobodys_asked) in of_jobs {
        assert_eq!(told(theirs, theirs_asked).await, told(nobodys, nobodys_asked).await);
    }
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_identities_are_cut_off_at_once_and_their_leases_go_to_others() {
    let (place, master) = Place::new().await;
    let book = Tickets::open(&place.root.path().join("tickets.sqlite"));
    let book = book.expect("another process may open it");
    let number = |credentials: &Credentials| format!("{:x}", credentials.identity().id);
    let owner = Artist::connect(&join(&master, Role::Artist).await).await;
    owner.upload().await;
    let job_id = owner.submit(job()).await;
    let lost_key = join(&master, Role::Node).await;
    let mut lost = FakeNode::connect(&lost_key, Vec::new()).await;
    lost.next_lease().await;
    let guest_key = join(&master, Role::Artist).await;
    let guest = Artist::connect(&guest_key).await;

    for (key, client) in [(&lost_key, &lost.client), (&guest_key, &guest.client)] {
        assert_eq!(book.revoke_member(&number(key)).expect("it is there"), 1);
        let closed = tokio::time::timeout(HANGS_AFTER, client.closed()).await.expect("it is cut off");
        assert!(matches!(&closed, WireError::Refused(reason) if reason.contains("revoked")), "{closed}");
        let again = Client::connect(key).await.err().map(|error| error.to_string());
        assert!(again.is_some_and(|reason| reason.contains("revoked")));
    }
    // What it held is rendered by another, long before a lease's deadline.
    let other = FakeNode::connect(&join(&master, Role::Node).await, Vec::new()).await;
    let work = tokio::spawn(other.work());
    assert_eq!(owner.watch(job_id).await.status, JobStatus::Done);

    assert_eq!(book.restore_member(&number(&guest_key)).expect("it is there"), 1);
    // Until the next look into the book it is still cut off.
    let mut is_in = false;
    for _ in 0..10_000 {
        is_in = Client::connect(&guest_key).await.is_ok();
        if is_in {
            break;
        }
    }
    assert!(is_in, "it is let in again");
    master.shutdown().await;
    work.await.expect("the node saw the master go");
}
