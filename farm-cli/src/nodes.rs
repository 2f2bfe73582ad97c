//! Listing nodes, and holding them back.

use farm_core::scheduler::{BlockedJob, NodeChange, NodeStanding, NodeView};
use farm_core::{NodeId, Timestamp};
use farm_wire::message::{AbsentNode, NodeListing};
use serde::Serialize;

use crate::args::{FarmQuery, NodeCommand};
use crate::login::open_credentials;
use crate::output::{Failure, human_count, print_json, print_text, printable, table};
use crate::progress::Progress;
use crate::requests::{Link, change_node, list_nodes};

/// `farm nodes`.
pub(crate) async fn list(command: FarmQuery) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Report {
        nodes: Vec<NodeListing>,
        absent: Vec<AbsentNode>,
    }
    let link = Link::connect(open_credentials(&command.farm)?).await?;
    let (nodes, absent, now) = list_nodes(link.client()).await?;
    link.close().await;
    if command.output_args.json {
        return print_json(&Report { nodes, absent });
    }
    if nodes.is_empty() {
        Progress::new(command.output_args.quiet)
            .note("no node is connected; `farm-node join TICKET` makes a machine one");
    }
    if nodes.is_empty() && absent.is_empty() {
        return Ok(());
    }
    let heading = [
        "NODE",
        "NAME",
        "ADAPTERS",
        "TAGS",
        "SAMPLES/S",
        "LEASES",
        "TILES",
        "FAILURES",
        "VERSION",
        "ADDRESS",
    ];
    let rows = std::iter::once(heading.map(str::to_owned).to_vec());
    let rows = rows.chain(nodes.iter().map(|node| row(node, now))).chain(absent.iter().map(absent_row));
    print_text(&table(&rows.collect::<Vec<_>>()))
}

/// A connected node's row in the list.
fn row(node: &NodeListing, now: Timestamp) -> Vec<String> {
    let adapters: Vec<&str> = node.lanes.iter().map(|lane| lane.adapter.as_str()).collect();
    let remarks = remarks(&node.view, now);
    let standing = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) };
    vec![
        node.view.node.to_string(),
        format!("{}{standing}", printable(&node.name)),
        printable(&adapters.join(", ")),
        if node.view.tags.is_empty() { "-".to_owned() } else { printable(&node.view.tags.join(", ")) },
        human_count(node.view.samples_per_second),
        node.view.leases.to_string(),
        node.view.tiles.to_string(),
        node.view.failures.to_string(),
        printable(&node.version),
        printable(&node.address),
    ]
}

/// What is to be said of a node that does not simply work.
fn remarks(view: &NodeView, now: Timestamp) -> Vec<String> {
    let standing = match (view.standing, view.quarantined_until) {
        (NodeStanding::Working, _) => None,
        (NodeStanding::Quarantined, Some(until)) => {
            let seconds = until.since(now).as_millis().div_ceil(1000);
            Some(format!("{} for {seconds} s", view.standing.word()))
        }
        (standing, _) => Some(standing.word().to_owned()),
    };
    let blocked = view.blocked.iter().map(|BlockedJob { job, kinds }| {
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.words()).collect();
        format!("blocked from job {job} by {}", kinds.join(" and "))
    });
    standing.into_iter().chain(blocked).collect()
}

/// The row of a node that is held back and not connected.
fn absent_row(absent: &AbsentNode) -> Vec<String> {
    vec![absent.node.to_string(), format!("({}, not connected)", absent.standing.word())]
}

/// `farm drain`, `undrain`, `ban` and `forgive`.
pub(crate) async fn change(command: NodeCommand, change: NodeChange) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Report {
        node: NodeId,
        standing: NodeStanding,
    }
    let link = Link::connect(open_credentials(&command.farm)?).await?;
    let (nodes, ..) = list_nodes(link.client()).await?;
    let node = find(&command.node, nodes.iter().map(|node| (node.view.node, node.name.as_str())))?;
    change_node(link.client(), node, change).await?;
    let (nodes, absent, _) = list_nodes(link.client()).await?;
    link.close().await;
    let connected = nodes.iter().map(|listing| (listing.view.node, listing.view.standing));
    let mut listed = connected.chain(absent.iter().map(|absent| (absent.node, absent.standing)));
    // A node that is neither connected nor held back works when it comes.
    let standing = listed.find(|(id, _)| *id == node).map_or(NodeStanding::Working, |(_, found)| found);
    if command.output_args.json {
        return print_json(&Report { node, standing });
    }
    Progress::new(command.output_args.quiet).note(&format!("node {node} is {}", standing.word()));
    Ok(())
}

/// The node of this number, or the one connected node of this name.
fn find<'a>(
    wanted: &str,
    connected: impl Iterator<Item = (NodeId, &'a str)> + Clone,
) -> Result<NodeId, Failure> {
    let hint = "`farm nodes` lists them with their numbers";
    let number = Some(wanted).filter(|text| text.len() == 16 && !text.starts_with('+'));
    if let Some(number) = number.and_then(|text| u64::from_str_radix(text, 16).ok()) {
        return Ok(NodeId(number));
    }
    let named: Vec<NodeId> = connected.filter(|(_, name)| *name == wanted).map(|(node, _)| node).collect();
    match named[..] {
        [node] => Ok(node),
        [] => Err(Failure::wrong_use(format!("no node is connected that is called `{wanted}`"))
            .with_hint(format!("{hint}; one that is away is named by its number"))),
        _ => Err(Failure::wrong_use(format!("{} nodes are called `{wanted}`", named.len())).with_hint(hint)),
    }
}

#[cfg(test)]
mod tests {
    use farm_core::JobId;
    use farm_core::scheduler::FailureKind;

    use super::*;

    #[test]
    fn remarks_say_why_a_node_gets_little() {
        let view = |standing, until, blocked| NodeView {
            node: NodeId(1),
            lanes: 1,
            leases: 0,
            standing,
            samples_per_second: 0.0,
            tiles: 0,
            failures: 9,
            tags: Vec::new(),
            memory_bytes: None,
            quarantined_until: until,
            blocked,
        };
        let said = |view| remarks(&view, Timestamp(1_000)).join("; ");
        assert_eq!(said(view(NodeStanding::Working, None, Vec::new())), "");
        assert_eq!(said(view(NodeStanding::Probation, None, Vec::new())), "on probation");
        let kinds = vec![FailureKind::Render, FailureKind::TimedOut];
        let blocked = vec![BlockedJob { job: JobId(7), kinds }];
        let until = Some(Timestamp(40_001));
        assert_eq!(
            said(view(NodeStanding::Quarantined, until, blocked)),
            "in quarantine for 40 s; blocked from job 7 by a failed render and no progress"
        );
    }

    #[test]
    fn nodes_are_found_by_number_or_by_a_name_that_only_one_has() {
        let connected = [(NodeId(1), "render-01"), (NodeId(2), "render-02"), (NodeId(3), "render-02")];
        let found = |wanted: &str| find(wanted, connected.into_iter()).map_err(|failure| failure.message);
        assert_eq!(found("render-01"), Ok(NodeId(1)));
        assert_eq!(found("00000000000000ff"), Ok(NodeId(255)), "it need not be connected");
        assert_eq!(found("render-02"), Err("2 nodes are called `render-02`".into()));
        for wanted in ["render-03", "ff", "+0000000000000ff", ""] {
            assert_eq!(found(wanted), Err(format!("no node is connected that is called `{wanted}`")));
        }
    }
}
