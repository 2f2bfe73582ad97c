//! Why no connected node can take a job, in words: tags and memory.

use super::floor::Floor;
use super::node::Node;
use crate::job::Needs;

/// What no node that may work has of what a job needs.
pub(super) fn explain(floor: &Floor, needs: &Needs) -> String {
    let active = || floor.nodes.values().filter(|node| node.is_active());
    let has = |node: &Node, tag: &String| node.equipment.tags.contains(tag);
    let missing: Vec<_> = needs.tags.iter().filter(|tag| !active().any(|node| has(node, tag))).collect();
    if !missing.is_empty() {
        return format!("waiting: no connected node has the {}", tags(&missing));
    }
    let mut tagged = active().filter(|node| needs.tags.iter().all(|tag| has(node, tag))).peekable();
    let required: Vec<_> = needs.tags.iter().collect();
    if tagged.peek().is_none() {
        return format!("waiting: no connected node has all of the {}", tags(&required));
    }
    let most = tagged.filter_map(|node| node.equipment.memory_bytes).max().unwrap_or(0);
    let whose = match required.len() {
        0 => "the connected nodes".to_owned(),
        _ => format!("the connected nodes with the {}", tags(&required)),
    };
    let (needed, most) = (gibibytes(needs.memory_bytes), gibibytes(most));
    format!("waiting: it needs {needed} of memory on each lane, and of {whose} none has more than {most}")
}

fn tags(tags: &[&String]) -> String {
    let names: Vec<_> = tags.iter().map(|tag| format!("`{tag}`")).collect();
    format!("{} {}", if tags.len() == 1 { "tag" } else { "tags" }, names.join(", "))
}

/// Bytes as people write memory, with one place.
fn gibibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 30);
    if tenths == 0 {
        return format!("{} MiB", bytes.div_ceil(1 << 20));
    }
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}
