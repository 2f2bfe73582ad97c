//! A farm that works: nodes of given speeds on a virtual clock, without a wire.

use super::*;

/// A node at work: it renders its leases one after the other.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) node: NodeId,
    /// Samples per second on a job.
    pub(super) speed: fn(u64, JobId) -> u64,
    pub(super) factor: u64,
    /// What it renders, and when that is done.
    rendering: Option<(Lease, Timestamp, u64)>,
}

impl Worker {
    pub(super) fn new(node: u64, factor: u64, speed: fn(u64, JobId) -> u64) -> Self {
        Self { node: NodeId(node), speed, factor, rendering: None }
    }
}

/// Every scene costs the same.
pub(super) fn even(factor: u64, _: JobId) -> u64 {
    factor
}

impl Farm {
    /// Lets the nodes work for a time; samples delivered of each job meanwhile.
    pub(super) fn work(
        &mut self,
        workers: &mut [Worker],
        duration: std::time::Duration,
    ) -> BTreeMap<JobId, u64> {
        let end = self.now.after(duration);
        let before: BTreeMap<_, _> = self.scheduler.jobs().map(|job| (job.job, job.samples_done)).collect();
        loop {
            for worker in &mut *workers {
                self.begin(worker);
            }
            let timer = self.scheduler.poll_timeout().map(|at| (at, usize::MAX));
            let done = workers
                .iter()
                .enumerate()
                .filter_map(|(index, worker)| worker.rendering.as_ref().map(|(_, at, _)| (*at, index)));
            let Some((at, index)) = done.chain(timer).min().filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            let Some(worker) = workers.get_mut(index) else {
                self.scheduler.handle(self.now, Command::Tick);
                self.collect();
                continue;
            };
            let (lease, _, render_us) = worker.rendering.take().expect("it was found rendering");
            if self.leases.remove(&(worker.node, lease.id)).is_some() {
                let command = Command::ReportTile {
                    node: worker.node,
                    lease: lease.id,
                    tile: lease.tile,
                    blob: blob(7),
                    rays: 1,
                    render_us,
                };
                self.scheduler.handle(self.now, command);
                self.collect();
            }
        }
        self.now = end;
        assert_eq!(self.scheduler.audit(), Ok(()));
        let delivered =
            |job: JobView| (job.job, job.samples_done - before.get(&job.job).copied().unwrap_or(0));
        self.scheduler.jobs().map(delivered).collect()
    }

    fn begin(&self, worker: &mut Worker) {
        // What was revoked is stopped.
        let revoked =
            |(lease, ..): &(Lease, Timestamp, u64)| !self.leases.contains_key(&(worker.node, lease.id));
        if worker.rendering.as_ref().is_some_and(revoked) {
            worker.rendering = None;
        }
        if worker.rendering.is_some() {
            return;
        }
        let Some(lease) = self.leases_of(worker.node).into_iter().next() else { return };
        let record = &self.scheduler.state.jobs[&lease.tile.job];
        let samples = record.samples_of(&lease.tile);
        let speed = (worker.speed)(worker.factor, lease.tile.job);
        let render_us = samples * 1_000_000 / speed;
        let at = Timestamp(self.now.0 + render_us.div_ceil(1000));
        worker.rendering = Some((lease, at, render_us));
    }

    /// Takes the effects in without an audit, which walks everything.
    fn collect(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Record(fact) => self.journal.push(fact),
                Effect::Grant { node, lease } => drop(self.leases.insert((node, lease.id), lease)),
                Effect::Revoke { node, lease } => drop(self.leases.remove(&(node, lease))),
                Effect::Answer { .. } | Effect::Settle { .. } | Effect::Assemble { .. } => {}
            }
        }
    }
}
