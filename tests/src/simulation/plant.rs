//! Bugs that are planted between the state machines and the rest of the farm, to
//! see that each is caught by the checker that is there for it.
//!
//! A plant changes what a state machine hears or what it asks for, as a wrong
//! machine would: the checkers see the same as if the bug were in its code.

use clap::ValueEnum;
use farm_core::agent::AgentEffect;
use farm_core::scheduler::{Command, Effect, Fact, NodeChange};
use farm_core::{BlobDigest, Rect};

use super::world::World;

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// The scheduler accepts some tiles twice.
    AcceptTwice,
    /// It takes results of banned nodes, and grants to them.
    IgnoreBans,
    /// It does not know that drained nodes are drained.
    IgnoreDrains,
    /// It accepts a result that is not the tile's.
    AcceptForgery,
    /// It has a frame delivered with its first tile.
    DeliverEarly,
    /// It has a frame delivered twice.
    DeliverTwice,
    /// It changes a priority and does not record it.
    ForgetPriority,
    /// It pauses a job and does not record it.
    ForgetPause,
    /// Verdicts leave before what they say is committed.
    SettleEarly,
    /// Leases leave before their job is committed.
    GrantEarly,
    /// It does not notice that nodes leave.
    IgnoreLeaving,
    /// It never looks at its deadlines.
    IgnoreTime,
    /// Some leases are on its books and never sent.
    LoseLeases,
    /// Some leases are sent to a second node as well.
    LendTwice,
    /// It does not have complete frames assembled.
    LoseAssemblies,
    /// It does not answer some tiles.
    LoseVerdicts,
    /// Paused jobs stay so.
    IgnoreResume,
    /// Failed jobs stay so.
    IgnoreRetry,
    /// One job is preferred among equals.
    PreferFirst,
    /// An agent renders before its blobs are there.
    StartBlind,
    /// It renders another rectangle than the one that was leased.
    RenderElsewhere,
    /// It does not send its tiles again on a new connection.
    SendOnce,
    /// It leaves with what it holds.
    LeaveEarly,
    /// It forgets no tile that was settled.
    KeepTiles,
}

impl Plant {
    /// The properties of which one must be found broken.
    #[must_use]
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::AcceptTwice => &["each block is accepted at most once"],
            Self::IgnoreBans => &["nothing is granted to banned nodes", "nothing is taken from banned nodes"],
            Self::IgnoreDrains => &["nothing is granted to drained nodes"],
            Self::AcceptForgery => &["only honest results are accepted"],
            Self::DeliverEarly => &["only complete frames are delivered"],
            Self::DeliverTwice => &["a frame is delivered once"],
            Self::ForgetPriority | Self::ForgetPause => &["restored state equals recorded state"],
            Self::SettleEarly => &["accepted is said only of what is committed"],
            Self::GrantEarly => &["a lease is sent only of a committed job"],
            Self::IgnoreLeaving => &["nothing is granted to departed nodes"],
            Self::IgnoreTime => &["no lease lives past its deadline"],
            Self::LoseLeases => &["only leases of hung lanes expire"],
            Self::LendTwice => &["wasted samples are bounded by the faults"],
            Self::LoseAssemblies | Self::IgnoreResume | Self::IgnoreRetry => &["every job ends in time"],
            Self::LoseVerdicts | Self::SendOnce => &["nothing is left over", "every job ends in time"],
            Self::PreferFirst => &["equal jobs get equal shares"],
            Self::StartBlind | Self::RenderElsewhere => {
                &["a lane is given what was granted, and can render it"]
            }
            Self::LeaveEarly => &["a drained node loses nothing"],
            Self::KeepTiles => &["what a node holds is bounded", "nothing is left over"],
        }
    }
}

impl World {
    /// A command on its way to the scheduler; none where the plant keeps it.
    pub(super) fn plant_in_command(&mut self, command: Command) -> Option<Command> {
        let kept = match (self.plant, &command) {
            (Some(Plant::IgnoreLeaving), Command::LeaveNode(_)) => true,
            (Some(Plant::IgnoreTime), Command::Tick) => true,
            (Some(Plant::PreferFirst), Command::SubmitJob { request, .. }) if request % 64 == 0 => {
                let Command::SubmitJob { request, mut spec, owner, quota } = command else { return None };
                spec.priority += 1;
                return Some(Command::SubmitJob { request, spec, owner, quota });
            }
            (Some(Plant::IgnoreResume), Command::ResumeJob { .. }) => true,
            (Some(Plant::IgnoreRetry), Command::RetryJob { .. }) => true,
            (Some(Plant::IgnoreBans), Command::ChangeNode { node, change: NodeChange::Ban, .. }) => {
                let fact = Fact::NodeBanned { node: *node };
                return self.record_without_scheduler(fact);
            }
            (Some(Plant::IgnoreDrains), Command::ChangeNode { node, change: NodeChange::Drain, .. }) => {
                let fact = Fact::NodeDrained { node: *node };
                return self.record_without_scheduler(fact);
            }
            _ => false,
        };
        (!kept).then_some(command)
    }

    fn record_without_scheduler(&mut self, fact: Fact) -> Option<Command> {
        self.presence.record(&fact);
        if let Some(master) = &mut self.master {
            master.pending.push_back(Effect::Record(fact));
        }
        None
    }

    /// What becomes of an effect that the scheduler asks for.
    pub(super) fn plant_in_effect(&mut self, effect: Effect) -> Vec<Effect> {
        let Some(plant) = self.plant else { return vec![effect] };
        match (plant, &effect) {
            (Plant::AcceptTwice, Effect::Record(Fact::TileAccepted { .. })) if self.random.chance(100) => {
                vec![effect.clone(), effect]
            }
            (
                Plant::AcceptForgery,
                Effect::Record(Fact::TileAccepted { tile, node, rays, render_us, .. }),
            ) => {
                let (tile, node, rays, render_us) = (*tile, *node, *rays, *render_us);
                let blob = BlobDigest([0xff; 32]);
                vec![Effect::Record(Fact::TileAccepted { tile, node, blob, rays, render_us })]
            }
            (Plant::DeliverEarly, Effect::Record(Fact::TileAccepted { tile, .. })) => {
                let pixel_digest = BlobDigest([0; 32]);
                let delivered = Fact::FrameDelivered { job: tile.job, frame: tile.frame, pixel_digest };
                vec![effect, Effect::Record(delivered)]
            }
            (Plant::DeliverTwice, Effect::Record(Fact::FrameDelivered { .. })) => {
                vec![effect.clone(), effect]
            }
            (Plant::ForgetPriority, Effect::Record(Fact::JobPrioritized { .. }))
            | (Plant::ForgetPause, Effect::Record(Fact::JobPaused { .. }))
            | (Plant::LoseAssemblies, Effect::Assemble { .. }) => Vec::new(),
            (Plant::LoseVerdicts, Effect::Settle { .. }) if self.random.chance(100) => Vec::new(),
            (Plant::LoseLeases, Effect::Grant { .. }) if self.random.chance(50) => Vec::new(),
            (Plant::LendTwice, Effect::Grant { lease, .. }) if self.random.chance(200) => {
                let other = self.random.index(self.nodes.len());
                let second = Effect::Grant { node: self.nodes[other].id, lease: lease.clone() };
                vec![effect, second]
            }
            _ => vec![effect],
        }
    }

    /// Whether an effect happens before the commit that it waits for.
    pub(super) fn is_hasty(&self, effect: &Effect) -> bool {
        matches!(
            (self.plant, effect),
            (Some(Plant::SettleEarly), Effect::Settle { .. })
                | (Some(Plant::GrantEarly), Effect::Grant { .. })
        )
    }

    /// What an agent asks for.
    pub(super) fn plant_in_agent_effect(&mut self, node: usize, effect: AgentEffect) -> Vec<AgentEffect> {
        let Some(plant) = self.plant else { return vec![effect] };
        match (plant, effect) {
            (Plant::RenderElsewhere, AgentEffect::StartRender { lane, lease, job, mut task }) => {
                task.rect = Rect { x: task.rect.x + 1, ..task.rect };
                vec![AgentEffect::StartRender { lane, lease, job, task }]
            }
            (Plant::SendOnce, AgentEffect::SendTile(lease)) => {
                let process = self.nodes[node].process.as_mut();
                let first = process.is_none_or(|process| process.sent.insert(lease));
                first.then_some(AgentEffect::SendTile(lease)).into_iter().collect()
            }
            (Plant::LeaveEarly, AgentEffect::SendDrain) => vec![AgentEffect::SendDrain, AgentEffect::Leave],
            (Plant::KeepTiles, AgentEffect::ForgetTile(_)) => Vec::new(),
            (_, effect) => vec![effect],
        }
    }
}
