//! What is written of each thing that somebody did.

use farm_core::scheduler::NodeChange;
use farm_core::{JobId, NodeId};
use farm_wire::Role;
use farm_wire::message::{JobChange, Request};
use serde::{Deserialize, Serialize};

/// Something that somebody did. Names of people and machines are theirs to choose;
/// nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counted from 1.
    pub number: u64,
    /// Milliseconds since the Unix epoch, by the clock of whoever wrote it.
    pub at_ms: u64,
    /// Who did it.
    pub who: Actor,
    /// What it was.
    pub what: Action,
    /// What came of it.
    pub outcome: Outcome,
    /// Entries before this one that could not be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// Somebody on the master's machine, who may read its data folder.
    Local,
    /// Somebody who is no member yet.
    Stranger,
    /// A node, an artist or an admin.
    Member {
        /// Its role.
        role: Role,
        /// Its number, in hexadecimal.
        id: String,
        /// Its name.
        name: String,
        /// Where it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
}

/// What somebody did, or wanted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Made a ticket.
    CreateTicket {
        /// Its number, in hexadecimal.
        ticket: String,
        /// Its name.
        name: String,
        /// What its holder becomes.
        role: Role,
    },
    /// Revoked tickets.
    RevokeTicket {
        /// Their name or number.
        ticket: String,
    },
    /// Joined by a ticket.
    Join {
        /// The ticket's number, in hexadecimal.
        ticket: String,
        /// As what.
        role: Role,
    },
    /// Was given a certificate.
    Certify,
    /// Revoked members.
    RevokeIdentity {
        /// Their name or number.
        identity: String,
    },
    /// Let revoked members in again.
    RestoreIdentity {
        /// Their name or number.
        identity: String,
    },
    /// Submitted a job.
    SubmitJob {
        /// Its name.
        name: String,
    },
    /// Changed a job.
    ChangeJob {
        /// Its number.
        job: JobId,
        /// How.
        change: JobChange,
    },
    /// Held a node back or let it work again.
    ChangeNode {
        /// Which.
        node: NodeId,
        /// How.
        change: NodeChange,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused(String),
}

impl Action {
    /// What a request is in the log; nothing for those that change nothing that is
    /// anybody's.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        match request {
            Request::SubmitJob { spec } => Some(Self::SubmitJob { name: spec.name.clone() }),
            Request::ChangeJob { job, change } => Some(Self::ChangeJob { job: *job, change: *change }),
            Request::ChangeNode { node, change } => Some(Self::ChangeNode { node: *node, change: *change }),
            Request::RenewCertificate { .. } => Some(Self::Certify),
            Request::FindMissing { .. }
            | Request::StoreBlob { .. }
            | Request::FetchBlob { .. }
            | Request::ListJobs
            | Request::WatchJob { .. }
            | Request::FetchFrame { .. }
            | Request::ListNodes => None,
        }
    }
}

impl<T, E: ToString> From<&Result<T, E>> for Outcome {
    fn from(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}
