//! Which processors share a memory (NUMA).
//!
//! Each socket of a larger machine, on some each part of a socket, has memory of
//! its own, and reading another's takes about twice as long. Rays read a scene all
//! over, so each node is to render with a copy of its own: threads that are bound
//! to a node get memory there, as the system takes a page from the node of the
//! thread that first writes to it.

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

/// Where Linux tells of the nodes.
const NODES: &str = "/sys/devices/system/node";

/// The processors of one NUMA node that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// The system's number for it.
    pub index: u32,
    /// The system's numbers for the processors: at least one, ascending.
    processors: Vec<usize>,
}

impl NumaNode {
    /// A node of these processors, which are given by the system's numbers for
    /// them; `None` where there is none.
    #[must_use]
    pub fn new(index: u32, mut processors: Vec<usize>) -> Option<Self> {
        processors.sort_unstable();
        (!processors.is_empty()).then_some(Self { index, processors })
    }

    /// Threads that it can run at once.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.processors.len()).expect("a node has a processor")
    }

    /// Lets the calling thread run on these processors alone.
    pub(crate) fn bind_thread(&self) -> io::Result<()> {
        system::bind_thread(&self.processors)
    }
}

/// The nodes of this machine that this process may run on, by their numbers; none
/// where the system does not tell.
#[must_use]
pub fn numa_nodes() -> Vec<NumaNode> {
    nodes_in(Path::new(NODES), &system::allowed_processors())
}

/// The nodes that a folder describes, with those of their processors that are
/// `allowed`.
fn nodes_in(folder: &Path, allowed: &[usize]) -> Vec<NumaNode> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut nodes: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let index = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = std::fs::read_to_string(entry.path().join("cpulist")).ok()?;
            let listed = ranges(&list)?;
            let is_listed = |processor: &usize| listed.iter().any(|range| range.contains(processor));
            NumaNode::new(index, allowed.iter().copied().filter(is_listed).collect())
        })
        .collect();
    nodes.sort_by_key(|node| node.index);
    nodes
}

/// The ranges of a list as Linux writes it: `0-3,8-11,16`.
fn ranges(list: &str) -> Option<Vec<std::ops::RangeInclusive<usize>>> {
    let parts = list.trim().split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect()
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The processors that this thread may run on.
    pub(super) fn allowed_processors() -> Vec<usize> {
        let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
        (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect()
    }

    pub(super) fn bind_thread(processors: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        processors.iter().for_each(|&processor| set.set(processor));
        Ok(sched_setaffinity(None, &set)?)
    }
}

/// Elsewhere the system places threads and memory.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub(super) fn allowed_processors() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn bind_thread(_: &[usize]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_processors_that_are_listed_and_allowed() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let lists = [
            ("node0", "0-1,4-5\n"),
            ("node2", "\n"),
            ("node10", "6,7\n"),
            ("node1", "2-3\n"),
            ("has_cpu", "0"),
        ];
        for (name, list) in lists {
            let node = folder.path().join(name);
            std::fs::create_dir(&node).expect("a folder can be made");
            std::fs::write(node.join("cpulist"), list).expect("a file can be written");
        }
        let check = |allowed: &[usize], expected: &[(u32, &[usize])]| {
            let nodes = nodes_in(folder.path(), allowed);
            let found: Vec<_> = nodes.iter().map(|node| (node.index, &*node.processors)).collect();
            assert_eq!(found, expected, "allowed {allowed:?}");
        };
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[(0, &[0, 1, 4, 5]), (1, &[2, 3]), (10, &[6, 7])]);
        check(&[1, 7], &[(0, &[1]), (10, &[7])]);
        check(&[], &[]);
    }

    #[test]
    fn lists_that_are_none_are_not_read() {
        for list in ["0-", "a", "1-2-3", "-1", "1,x"] {
            assert_eq!(ranges(list), None, "{list}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn bound_thread_runs_on_the_processors_of_its_node() {
        let allowed = system::allowed_processors();
        let last = *allowed.last().expect("this thread runs somewhere");
        let node = NumaNode::new(0, vec![last]).expect("it has a processor");
        let bound = std::thread::spawn(move || node.bind_thread().map(|()| system::allowed_processors()));
        assert_eq!(bound.join().expect("nothing panics").expect("it may run there"), [last]);
        assert_eq!(system::allowed_processors(), allowed, "other threads are as they were");
    }
}
