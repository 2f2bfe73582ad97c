//! The kernel's functions on a scene, called one by one in their native version:
//! for tests and for measurements.

use farm_core::RenderTask;
use farm_scene::Scene;
use shaders::native::{Bindings, Overrides};

use crate::RenderError;
use crate::cpu;
use crate::layout::{Params, light_kind};
use crate::pack::{PackedScene, pack, word_index};
use crate::upload::task_params;

/// A packed scene with what the kernel's functions read of it.
#[derive(Debug)]
pub struct Stage {
    pub(crate) packed: PackedScene,
    pub(crate) params: Params,
    overrides: Overrides,
}

impl Stage {
    /// Packs a scene that no camera looks at yet.
    ///
    /// # Errors
    /// When the scene is too large.
    pub fn new(scene: &Scene) -> Result<Self, RenderError> {
        let packed = pack(scene)?;
        let params = packed.params;
        Ok(Self::of(packed, params))
    }

    /// Packs a scene for a task.
    ///
    /// # Errors
    /// When the scene is too large or has no such camera.
    pub fn for_task(scene: &Scene, task: &RenderTask) -> Result<Self, RenderError> {
        let packed = pack(scene)?;
        let params = task_params(packed.params, &scene.cameras, task)?;
        Ok(Self::of(packed, params))
    }

    fn of(packed: PackedScene, params: Params) -> Self {
        let overrides = packed.features().overrides();
        Self { packed, params, overrides }
    }

    /// Calls functions of the kernel, but for those that write records.
    pub fn run<T>(&self, call: impl FnOnce(&mut Bindings<'_>) -> T) -> T {
        call(&mut cpu::bindings(&self.packed, self.overrides, &self.params, &mut []))
    }

    /// Places of all lights that can be chosen, in the kernel's `lights`.
    #[must_use]
    pub fn lights(&self) -> Vec<u32> {
        let lights = &self.packed.lights;
        let entries = self.params.light_count as usize;
        let is_tree = |&place: &usize| lights[place].kind == light_kind::TREE;
        // A binary tree over n lights has n − 1 pairs, which come before them.
        let has_tree = (0..entries).any(|place| is_tree(&place));
        let placed = if has_tree { (lights.len() - entries).div_ceil(2) } else { 0 };
        let table = (0..entries).filter(|place| !is_tree(place));
        table.chain(lights.len() - placed..lights.len()).map(word_index).collect()
    }
}
