//! Where a program runs: on loopback, or in a network namespace of its own, joined
//! to the others by a bridge, where its cable can be pulled.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Failed;

/// Counts the networks that this process made.
static TURNS: AtomicU32 = AtomicU32::new(0);

/// A place for one program.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The address that others reach it at.
    pub(super) address: String,
    namespace: Option<Arc<Namespace>>,
}

/// A network namespace and its end of a cable; both go with it.
#[derive(Debug)]
struct Namespace {
    name: String,
    cable: String,
    _bridge: Arc<Bridge>,
}

#[derive(Debug)]
struct Bridge {
    name: String,
    /// The first three numbers of its addresses.
    subnet: String,
}

impl Place {
    /// Places for `count` programs and for whoever runs them.
    pub(super) fn all(count: usize, in_namespaces: bool) -> Result<Vec<Self>, Failed> {
        if !in_namespaces {
            return Ok(vec![Self { address: "127.0.0.1".into(), namespace: None }; count]);
        }
        // Names of interfaces have at most 15 characters, and what an earlier run had
        // may take a moment longer.
        let turn = TURNS.fetch_add(1, Ordering::Relaxed) % 200;
        let run = std::process::id() % 1000 * 1000 + turn;
        let bridge = Arc::new(Bridge { name: format!("tsb{run}"), subnet: format!("10.213.{turn}") });
        ip(&["link", "add", &bridge.name, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}.254/24", bridge.subnet), "dev", &bridge.name])?;
        ip(&["link", "set", &bridge.name, "up"])?;
        (1..=count).map(|number| Self::in_namespace(run, number, &bridge)).collect()
    }

    fn in_namespace(run: u32, number: usize, bridge: &Arc<Bridge>) -> Result<Self, Failed> {
        let (name, cable) = (format!("tsn{run}-{number}"), format!("tsv{run}-{number}"));
        let address = format!("{}.{number}", bridge.subnet);
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name, cable, _bridge: Arc::clone(bridge) };
        let Namespace { name, cable, .. } = &namespace;
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip(&["link", "set", cable, "master", &bridge.name, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        Ok(Self { address, namespace: Some(Arc::new(namespace)) })
    }

    /// A command that runs a program here.
    pub(super) fn command(&self, program: &std::path::Path) -> tokio::process::Command {
        let Some(namespace) = &self.namespace else { return tokio::process::Command::new(program) };
        // `ip netns exec` becomes the program, so signals reach it.
        let mut command = tokio::process::Command::new("ip");
        command.args(["netns", "exec", &namespace.name]).arg(program);
        command
    }

    /// Pulls the cable or puts it back; false where there is none.
    pub(super) fn set_cable(&self, plugged: bool) -> Result<bool, Failed> {
        let Some(namespace) = &self.namespace else { return Ok(false) };
        ip(&["link", "set", &namespace.cable, if plugged { "up" } else { "down" }])?;
        Ok(true)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with its other end. What cannot be removed stays behind.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), Failed> {
    let done = Command::new("ip").args(arguments).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(format!("`ip {}`: {said} (namespaces need root)", arguments.join(" ")).into())
}
