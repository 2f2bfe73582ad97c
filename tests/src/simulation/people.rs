//! People: they change their minds about jobs and nodes at random, and put things
//! right once the faults are over.

use farm_core::scheduler::{Command, JobStatus, NodeChange};
use farm_core::{FrameNumber, FrameRange, JobId, NodeId, Rect};

use super::check::Checked;
use super::world::{Event, World};

/// The number of every request whose answer nobody waits for.
const NOBODY: u64 = u64::MAX;

impl World {
    /// A person changes their mind about some job or node.
    pub(super) fn person(&mut self) -> Checked {
        let Some(master) = self.master.as_ref().filter(|_| self.stuck_until <= self.now) else {
            return Ok(());
        };
        let jobs = master.scheduler.jobs().count();
        if jobs == 0 || self.random.chance(350) {
            return self.person_at_a_node();
        }
        let (request, job) = (NOBODY, JobId(self.random.index(jobs) as u64 + 1));
        let command = match self.random.between(0, 21) {
            0..6 => Command::PauseJob { request, job },
            6..12 => Command::ResumeJob { request, job },
            12..15 => Command::RetryJob { request, job },
            15..18 => {
                let priority = [-3, 0, 0, 5, 7][self.random.index(5)];
                Command::PrioritizeJob { request, job, priority }
            }
            18..21 => return self.rerender(job),
            _ => Command::CancelJob { request, job },
        };
        self.command(command)
    }

    /// Holds a node back or lets it work again; now and then one that nobody knows.
    fn person_at_a_node(&mut self) -> Checked {
        let stranger = self.random.chance(50);
        let node = self.random.index(self.nodes.len());
        let node = if stranger { NodeId(4) } else { self.nodes[node].id };
        let changes = [NodeChange::Drain, NodeChange::Undrain, NodeChange::Ban, NodeChange::Forgive];
        let change = changes[self.random.index(4)];
        self.command(Command::ChangeNode { request: NOBODY, node, change })
    }

    /// Asks for tiles of a job again: of all its frames or some, of all pixels or
    /// some, which need not be in the picture.
    fn rerender(&mut self, job: JobId) -> Checked {
        let mut small = |low, high| u32::try_from(self.random.between(low, high)).expect("a small number");
        let first = small(0, 3);
        let frames = FrameRange { first: FrameNumber(first), last: FrameNumber(first + small(0, 3)) };
        let rect = Rect { x: small(0, 90), y: small(0, 90), width: small(1, 60), height: small(1, 60) };
        let region = (small(0, 2) > 0).then_some(rect);
        self.command(Command::RerenderJob { request: NOBODY, job, frames, region })
    }

    /// After the faults: people resume and retry what stopped and let every node
    /// work again, until all is over.
    pub(super) fn nurse(&mut self) -> Checked {
        self.schedule(5_000, Event::Nurse);
        self.leases.check(self.now)?;
        self.dismiss_liars();
        let Some(master) = &self.master else { return Ok(()) };
        let open = master
            .scheduler
            .jobs()
            .filter(|job| !matches!(job.status, JobStatus::Done | JobStatus::Cancelled));
        let open: Vec<_> = open.map(|job| (job.job, job.status)).collect();
        if open.is_empty() && self.submitted.iter().all(|answered| *answered) {
            self.note_finished();
        }
        let request = NOBODY;
        for node in self.presence.held_back() {
            for change in [NodeChange::Undrain, NodeChange::Forgive] {
                self.command(Command::ChangeNode { request, node, change })?;
            }
        }
        for (job, status) in open {
            match status {
                JobStatus::Paused => self.command(Command::ResumeJob { request, job })?,
                JobStatus::Failed => self.command(Command::RetryJob { request, job })?,
                JobStatus::Waiting
                | JobStatus::Running
                | JobStatus::Stranded
                | JobStatus::Done
                | JobStatus::Cancelled => {}
            }
        }
        Ok(())
    }
}
