//! Who may ask what: the one place where it is decided.
//!
//! A certificate says whether somebody is a node, an artist or an admin. An
//! artist sees and changes its own jobs; an admin everybody's, and nodes. What is
//! refused for being another's reads as what is refused for not being there, so
//! that nobody learns by asking which jobs there are.

use farm_core::scheduler::JobView;
use farm_core::{JobId, OwnerId};
use farm_wire::message::Request;

use crate::driver::Refusal;
use crate::farm::Farm;

/// An artist or an admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Whose the jobs are that it submits.
    pub(crate) owner: OwnerId,
    /// Whether everybody's jobs and the nodes are open to it.
    pub(crate) is_admin: bool,
}

impl Person {
    /// Whether a job of this owner is open to it. Nobody but admins has the jobs
    /// of which the owner was not recorded.
    pub(crate) fn has(self, owner: Option<OwnerId>) -> bool {
        self.is_admin || owner == Some(self.owner)
    }
}

/// What a request needs of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    /// Nothing more than to be connected: nodes may too.
    Membership,
    /// To be an artist or an admin. Blobs are among this: whoever can name one
    /// has seen its bytes or the manifest that names it, and a digest cannot be
    /// guessed.
    Person,
    /// To own the job, or to be an admin.
    Job(JobId),
    /// To be an admin.
    Admin,
}

/// What a request needs. A new request does not compile until it stands here.
pub(crate) fn needed(request: &Request) -> Needed {
    match request {
        Request::FindMissing { .. }
        | Request::StoreBlob { .. }
        | Request::FetchBlob { .. }
        | Request::SubmitJob { .. }
        // The list holds only what the asker has.
        | Request::ListJobs
        | Request::ListNodes => Needed::Person,
        Request::WatchJob { job } | Request::ChangeJob { job, .. } | Request::FetchFrame { job, .. } => {
            Needed::Job(*job)
        }
        Request::RenewCertificate { .. } => Needed::Membership,
        Request::ChangeNode { .. } => Needed::Admin,
    }
}

/// Lets a request through or says why not. An owner never changes, so what is
/// let through stays right however long its answer takes.
pub(crate) async fn permit(farm: &Farm, person: Person, request: &Request) -> Result<(), Refusal> {
    match needed(request) {
        Needed::Membership | Needed::Person => Ok(()),
        Needed::Job(job) => view(farm, person, job).await.map(|_| ()),
        Needed::Admin if person.is_admin => Ok(()),
        Needed::Admin => Err(Refusal::with_hint(
            "only an admin may hold nodes back or let them work again",
            "log in with an admin ticket (`farm-master ticket create --role admin` on the master makes one)",
        )),
    }
}

/// How a job stands, for somebody who has it.
pub(crate) async fn view(farm: &Farm, person: Person, job: JobId) -> Result<JobView, Refusal> {
    let view = farm.driver.look(move |scheduler| scheduler.job(job)).await?;
    view.filter(|view| person.has(view.owner)).ok_or_else(|| {
        Refusal::with_hint(format!("you have no job {job}"), "`farm jobs` lists the jobs that you have")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_open_to_their_owner_and_to_admins() {
        let artist = Person { owner: OwnerId(7), is_admin: false };
        let admin = Person { owner: OwnerId(8), is_admin: true };
        for (owner, to_artist) in [(Some(OwnerId(7)), true), (Some(OwnerId(8)), false), (None, false)] {
            assert_eq!((artist.has(owner), admin.has(owner)), (to_artist, true), "{owner:?}");
        }
    }
}
