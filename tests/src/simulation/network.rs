//! The simulated network: connections as QUIC keeps them, over links that lose,
//! delay, duplicate and reorder packets, or carry none for a while.
//!
//! A control stream keeps its order; a lost packet holds up all that is behind it
//! until it is sent again. Tiles have streams of their own and overtake each
//! other. Whatever a connection carries may come twice where one of its ends is
//! wrong; both state machines must not mind.

use farm_core::Timestamp;
use farm_core::agent::AgentCommand;

use super::check::Checked;
use super::world::{ConnectionId, Event, ToMaster, ToNode, World};

/// Silence after which each end takes the other for gone.
const IDLE_MS: u64 = 3_000;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) alive: bool,
    /// When the greeting arrives.
    greeting_at: Timestamp,
    /// When the last message of each control stream arrives.
    to_master_at: Timestamp,
    to_node_at: Timestamp,
}

impl World {
    /// Establishes a connection if there is a master to connect to and a way there.
    pub(super) fn connect(&mut self, node: usize, life: u32) -> Checked {
        let simulated = &self.nodes[node];
        let waits = simulated.life == life
            && simulated.process.as_ref().is_some_and(|process| process.connection.is_none());
        if !waits {
            return Ok(());
        }
        if self.master.is_none() || simulated.cut_off_until > self.now {
            self.schedule(1_000, Event::Connect { node, life });
            return Ok(());
        }
        let id = ConnectionId(self.connections.len());
        self.connections.push(Connection {
            node,
            alive: true,
            greeting_at: self.now,
            to_master_at: self.now,
            to_node_at: self.now,
        });
        self.open_connections.insert(id);
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.connection = Some(id);
        let hello = ToMaster::Hello {
            lanes: u32::try_from(process.lanes.len()).expect("a few"),
            holding: process.agent.holding(),
        };
        self.send_to_master(id, hello);
        self.tell_agent(node, AgentCommand::Connect)
    }

    /// How long a message is on its way: longer by some retransmissions where the
    /// link loses packets.
    fn draw_delay(&mut self) -> u64 {
        let mut delay_ms = self.random.between(0, self.plan.delay_ms);
        if self.is_healed() {
            return delay_ms;
        }
        while self.random.chance(self.plan.faults.drop_per_mille) && delay_ms < IDLE_MS {
            delay_ms += self.random.between(100, 1_000);
        }
        delay_ms
    }

    /// Control messages arrive in order. A tile has a stream of its own, which
    /// the master's driver reads only once the greeting has come.
    pub(super) fn send_to_master(&mut self, id: ConnectionId, message: ToMaster) {
        let twice = !self.is_healed() && self.random.chance(self.plan.faults.duplicate_per_mille);
        if twice && !matches!(message, ToMaster::Hello { .. }) {
            self.send_once_to_master(id, message.clone());
        }
        self.send_once_to_master(id, message);
    }

    fn send_once_to_master(&mut self, id: ConnectionId, message: ToMaster) {
        let delayed = Timestamp(self.now.0 + self.draw_delay());
        let connection = &mut self.connections[id.0];
        let at = match &message {
            ToMaster::Tile { .. } => delayed.max(connection.greeting_at),
            _ => delayed.max(connection.to_master_at),
        };
        match &message {
            ToMaster::Tile { .. } => {}
            ToMaster::Hello { .. } => (connection.greeting_at, connection.to_master_at) = (at, at),
            _ => connection.to_master_at = at,
        }
        self.schedule_at(at, Event::ToMaster(id, message));
    }

    pub(super) fn send_to_node(&mut self, id: ConnectionId, message: ToNode) {
        let twice = !self.is_healed() && self.random.chance(self.plan.faults.duplicate_per_mille);
        if twice {
            if let ToNode::Granted(lease) = &message {
                // It may be done, settled and forgotten before it comes again.
                self.excuse_tile(&lease.tile);
            }
            self.send_once_to_node(id, message.clone());
        }
        self.send_once_to_node(id, message);
    }

    fn send_once_to_node(&mut self, id: ConnectionId, message: ToNode) {
        let delay_ms = self.draw_delay();
        let connection = &mut self.connections[id.0];
        connection.to_node_at = connection.to_node_at.max(Timestamp(self.now.0 + delay_ms));
        let at = connection.to_node_at;
        self.schedule_at(at, Event::ToNode(id, message));
    }

    /// Breaks a connection; what is under way is lost, and each end notices in
    /// its own time.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        if !std::mem::replace(&mut self.connections[id.0].alive, false) {
            return;
        }
        self.open_connections.remove(&id);
        self.excuse_holdings(self.connections[id.0].node);
        self.schedule_within(IDLE_MS, Event::NodeSeesDown(id));
        self.schedule_within(IDLE_MS, Event::MasterSeesDown(id));
    }

    /// No packet passes between the master and some of the nodes for a while. What
    /// was sent comes late; where that is too late, the connection breaks.
    pub(super) fn partition(&mut self) {
        let cut_off_ms = self.random.between(100, 12_000);
        let share = self.random.between(1, 1_000);
        for node in 0..self.nodes.len() {
            if !self.random.chance(share) {
                continue;
            }
            self.nodes[node].cut_off_until = Timestamp(self.now.0 + cut_off_ms);
            self.break_after(node, cut_off_ms);
        }
    }

    /// A node does nothing for a while.
    pub(super) fn stall(&mut self, node: usize) {
        let stall_ms = self.random.between(100, 10_000);
        self.nodes[node].stalled_until = Timestamp(self.now.0 + stall_ms);
        self.break_after(node, stall_ms);
    }

    /// Breaks a node's connection if a silence is longer than the idle timeout.
    fn break_after(&mut self, node: usize, silence_ms: u64) {
        let connection = self.nodes[node].process.as_ref().and_then(|process| process.connection);
        if let Some(connection) = connection.filter(|_| silence_ms > IDLE_MS) {
            self.schedule(IDLE_MS, Event::Cut(connection));
        }
    }
}
