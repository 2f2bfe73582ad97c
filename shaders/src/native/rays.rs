//! Rays on their way to whoever traces them, and their hits on the way back,
//! component by component and by the hundred: a tracer can then work on as many
//! of them at once as suits it.

/// Rays in slots, as `traverse.wgsl` has them. A slot that no list names holds
/// nothing of interest.
#[derive(Debug, Default)]
pub struct RayBatch {
    /// x, y and z of the origins.
    pub origin: [Vec<f32>; 3],
    /// x, y and z of the directions.
    pub direction: [Vec<f32>; 3],
    /// Hits lie after (`t_min`, `after_instance`, `after_triangle`)…
    pub t_min: Vec<f32>,
    /// …and before this.
    pub t_max: Vec<f32>,
    /// Instance of the hit that the ray passed through last.
    pub after_instance: Vec<u32>,
    /// Its place in `triangles`.
    pub after_triangle: Vec<u32>,
    /// Slots of the rays whose closest hit is wanted.
    pub closest: Vec<u32>,
    /// Slots of the rays for which any opaque hit will do, and else the closest.
    pub any_opaque: Vec<u32>,
}

/// Hits in the slots of their rays.
#[derive(Debug, Default)]
pub struct HitBatch {
    /// Distance in units of the direction's length.
    pub t: Vec<f32>,
    /// Instance; `u32::MAX` where nothing was hit.
    pub instance: Vec<u32>,
    /// Place in `triangles`.
    pub triangle: Vec<u32>,
    /// Weight of the second corner.
    pub b: Vec<f32>,
    /// Weight of the third corner.
    pub c: Vec<f32>,
    /// [`HitBatch::FRONT`] and [`HitBatch::OPAQUE`].
    pub flags: Vec<u32>,
}

impl HitBatch {
    /// The front of the triangle was hit.
    pub const FRONT: u32 = 1;
    /// Alpha plays no part in it.
    pub const OPAQUE: u32 = 2;

    /// Room for the hits of so many slots.
    #[must_use]
    pub fn with_slots(slots: usize) -> Self {
        let (floats, words) = (|| vec![0.0; slots], || vec![0; slots]);
        Self { t: floats(), instance: words(), triangle: words(), b: floats(), c: floats(), flags: words() }
    }
}

impl RayBatch {
    /// Room for so many rays.
    #[must_use]
    pub fn with_slots(slots: usize) -> Self {
        let (floats, words) = (|| vec![0.0; slots], || vec![0; slots]);
        Self {
            origin: [floats(), floats(), floats()],
            direction: [floats(), floats(), floats()],
            t_min: floats(),
            t_max: floats(),
            after_instance: words(),
            after_triangle: words(),
            closest: Vec::with_capacity(slots),
            any_opaque: Vec::with_capacity(slots),
        }
    }

    /// Takes every ray off the lists.
    pub fn clear(&mut self) {
        self.closest.clear();
        self.any_opaque.clear();
    }

    /// Whether no ray is to be traced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.closest.is_empty() && self.any_opaque.is_empty()
    }
}

/// Finds what rays hit, as `traverse` in `traverse.wgsl` does.
pub trait Tracer {
    /// Traces the rays that the lists of `rays` name, and writes the hits of
    /// these slots and no others.
    fn trace(&self, rays: &RayBatch, hits: &mut HitBatch);
}
