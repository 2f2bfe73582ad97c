//! Which adapters a node renders on.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use farm_core::{BlobDigest, RenderTask};
use farm_render::{
    AdapterInfo, DeviceScene, NumaNode, PreparedScene, Progress, RenderError, Rendered, Renderer,
    machine_memory,
};
use farm_scene::Scene;
use farm_wire::message::LaneDescription;

use crate::error::NodeError;
use crate::lane::Adapter;

/// Which adapters a node renders on, one lane each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best one alone.
    Best,
    /// Every graphics adapter that is hardware; where there is none, the
    /// processor.
    #[default]
    All,
    /// The one at this place of [`list_adapters`].
    Index(usize),
    /// The first whose name contains this, letter case aside.
    Name(String),
    /// The processor alone, by the renderer's own code for it.
    Cpu,
}

/// A lane on the processor, besides those of an [`AdapterChoice`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuLane {
    /// Threads to render on; `None` takes all that this process may use.
    pub threads: Option<NonZeroUsize>,
}

/// Every adapter of this machine that can render, best first. Asks the drivers,
/// which takes a while: not for an async task.
#[must_use]
pub fn list_adapters() -> Vec<AdapterInfo> {
    farm_render::adapters()
}

/// The adapters that a choice may fall on. Drivers take their time to answer, and
/// are not asked where the processor alone is wanted.
pub(crate) fn list_for(choice: &AdapterChoice) -> Vec<AdapterInfo> {
    match choice {
        AdapterChoice::Cpu => vec![farm_render::processor()],
        _ => list_adapters(),
    }
}

/// The digest of the shaders that this node renders with.
#[must_use]
pub fn shader_digest() -> BlobDigest {
    farm_render::shader_digest()
}

/// Whether an adapter is a program on the processor.
fn is_software(adapter: &AdapterInfo) -> bool {
    adapter.kind == "cpu"
}

/// Picks from `adapters`, which are ordered best first, and adds the processor
/// where `with_cpu` wants it too.
///
/// # Errors
/// When there is none, or not the one that was asked for.
pub(crate) fn choose(
    adapters: &[AdapterInfo],
    choice: &AdapterChoice,
    with_cpu: bool,
) -> Result<Vec<AdapterInfo>, NodeError> {
    let mut chosen = choose_without_cpu(adapters, choice)?;
    if with_cpu && !chosen.iter().any(AdapterInfo::is_native) {
        chosen.extend(adapters.iter().find(|adapter| adapter.is_native()).cloned());
    }
    Ok(chosen)
}

fn choose_without_cpu(
    adapters: &[AdapterInfo],
    choice: &AdapterChoice,
) -> Result<Vec<AdapterInfo>, NodeError> {
    let best = adapters.first().ok_or(NodeError::NoAdapter)?;
    let unknown = |asked: String| NodeError::UnknownAdapter { asked, known: describe_known(adapters) };
    let one = |found: Option<&AdapterInfo>, asked: String| match found {
        Some(adapter) => Ok(vec![adapter.clone()]),
        None => Err(unknown(asked)),
    };
    match choice {
        AdapterChoice::Best => Ok(vec![best.clone()]),
        AdapterChoice::All => {
            let hardware: Vec<_> = adapters.iter().filter(|a| !is_software(a)).cloned().collect();
            Ok(if hardware.is_empty() { vec![best.clone()] } else { hardware })
        }
        AdapterChoice::Index(index) => one(adapters.iter().find(|a| a.index == *index), index.to_string()),
        AdapterChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let found = adapters.iter().find(|a| a.name.to_lowercase().contains(&wanted));
            one(found, format!("named `{name}`"))
        }
        AdapterChoice::Cpu => one(adapters.iter().find(|a| a.is_native()), "that is the processor".into()),
    }
}

/// The lanes of the processor: one for each NUMA node, with threads of its own and
/// the scene in its own memory. So many `threads` fill one node after the other,
/// and those that get none have no lane. Where the system tells of one node or
/// none, there is one lane, whose threads the system places.
pub(crate) fn processor_lanes(
    nodes: Vec<NumaNode>,
    threads: Option<NonZeroUsize>,
) -> Vec<(Option<NumaNode>, Option<NonZeroUsize>)> {
    if nodes.len() < 2 {
        return vec![(None, threads)];
    }
    let room: usize = nodes.iter().map(|node| node.threads().get()).sum();
    let mut left = threads.map_or(room, NonZeroUsize::get);
    let last = nodes.len() - 1;
    let mut lanes = Vec::new();
    for (place, node) in nodes.into_iter().enumerate() {
        // More threads than there are processors: the last node gets the rest.
        let most = if place == last { left } else { node.threads().get() };
        let share = most.min(left);
        left -= share;
        if let Some(share) = NonZeroUsize::new(share) {
            lanes.push((Some(node), Some(share)));
        }
    }
    lanes
}

fn describe_known(adapters: &[AdapterInfo]) -> String {
    let names: Vec<_> = adapters.iter().map(|a| format!("{} `{}`", a.index, a.name)).collect();
    format!("there are: {}", names.join(", "))
}

impl Adapter for Renderer {
    type Scene = DeviceScene;
    type Prepared = PreparedScene;

    fn describe(&self) -> Result<LaneDescription, RenderError> {
        let info = self.adapter();
        Ok(LaneDescription {
            adapter: info.name.clone(),
            backend: info.backend.clone(),
            numeric_class: self.numeric_class()?,
            // Graphics APIs do not tell how much memory an adapter has.
            memory_bytes: info.is_native().then(machine_memory).flatten(),
        })
    }

    fn recall(&self, scene: BlobDigest) -> Option<PreparedScene> {
        Self::recall(self, scene)
    }

    fn prepare(&self, digest: BlobDigest, scene: &Scene) -> Result<PreparedScene, RenderError> {
        let prepared = Self::prepare(self, scene)?;
        self.keep(digest, &prepared);
        Ok(prepared)
    }

    fn upload(&self, scene: &PreparedScene) -> Result<DeviceScene, RenderError> {
        Self::upload(self, scene)
    }

    fn render(
        &self,
        scene: &DeviceScene,
        task: &RenderTask,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError> {
        self.render_until_stopped(scene, task, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, kind: &str) -> AdapterInfo {
        AdapterInfo {
            index,
            name: name.into(),
            backend: if kind == "processor" { "native" } else { "vulkan" }.into(),
            kind: kind.replace("processor", "cpu"),
            driver: String::new(),
            bus_address: String::new(),
            max_binding_bytes: 1 << 30,
        }
    }

    fn check(kinds: &[&str], choice: &AdapterChoice, expected: &[usize]) {
        check_with_cpu(kinds, choice, false, expected);
    }

    fn check_with_cpu(kinds: &[&str], choice: &AdapterChoice, with_cpu: bool, expected: &[usize]) {
        let adapters: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(i, kind)| adapter(i, &format!("Maker {kind} {i}"), kind))
            .collect();
        let chosen =
            choose(&adapters, choice, with_cpu).map(|chosen| chosen.iter().map(|a| a.index).collect());
        assert_eq!(chosen.unwrap_or_else(|_| Vec::new()), expected, "{choice:?} of {kinds:?}");
    }

    #[test]
    fn choices_pick_the_adapters_that_they_promise() {
        let mixed = ["discrete-gpu", "integrated-gpu", "processor", "cpu"];
        check(&mixed, &AdapterChoice::All, &[0, 1]);
        check(&mixed, &AdapterChoice::Best, &[0]);
        check(&mixed, &AdapterChoice::Cpu, &[2]);
        check(&mixed, &AdapterChoice::Index(1), &[1]);
        check(&mixed, &AdapterChoice::Index(3), &[3]);
        check(&mixed, &AdapterChoice::Index(4), &[]);
        check(&mixed, &AdapterChoice::Name("maker INTEGRATED".into()), &[1]);
        check(&mixed, &AdapterChoice::Name("radeon".into()), &[]);
        check(&["processor", "cpu"], &AdapterChoice::All, &[0]);
        check_with_cpu(&mixed, &AdapterChoice::All, true, &[0, 1, 2]);
        check_with_cpu(&mixed, &AdapterChoice::Index(3), true, &[3, 2]);
        check_with_cpu(&["processor"], &AdapterChoice::All, true, &[0]);
        check(&["discrete-gpu"], &AdapterChoice::Cpu, &[]);
        check(&[], &AdapterChoice::All, &[]);
    }

    #[test]
    fn threads_fill_one_numa_node_after_the_other() {
        let check =
            |processors: &[usize], threads: Option<usize>, expected: &[(Option<u32>, Option<usize>)]| {
                let mut next = 0;
                let mut node = |(index, &count): (usize, &usize)| {
                    let first = next;
                    next += count;
                    NumaNode::new(u32::try_from(index).expect("there are few"), (first..next).collect())
                };
                let nodes = processors.iter().enumerate().filter_map(&mut node).collect();
                let lanes: Vec<_> = processor_lanes(nodes, threads.and_then(NonZeroUsize::new))
                    .into_iter()
                    .map(|(node, threads)| (node.map(|node| node.index), threads.map(NonZeroUsize::get)))
                    .collect();
                assert_eq!(lanes, expected, "{processors:?}, {threads:?}");
            };
        check(&[], None, &[(None, None)]);
        check(&[8], None, &[(None, None)]);
        check(&[8], Some(3), &[(None, Some(3))]);
        check(&[4, 6], None, &[(Some(0), Some(4)), (Some(1), Some(6))]);
        check(&[4, 6], Some(3), &[(Some(0), Some(3))]);
        check(&[4, 6], Some(5), &[(Some(0), Some(4)), (Some(1), Some(1))]);
        check(&[4, 6], Some(20), &[(Some(0), Some(4)), (Some(1), Some(16))]);
    }

    #[test]
    fn unknown_adapter_error_names_those_that_there_are() {
        let error = choose(&[adapter(0, "llvmpipe", "cpu")], &AdapterChoice::Index(7), false);
        let text = error.expect_err("there is no adapter 7").to_string();
        assert!(text.contains('7') && text.contains("llvmpipe"), "{text}");
    }
}
