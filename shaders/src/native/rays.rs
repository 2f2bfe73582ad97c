//! Rays on their way to whoever traces them, and their hits on the way back,
//! component by component and by the hundred: a tracer can then work on as many
//! of them at once as suits it.

/// Rays in slots, as `traverse.wgsl` has them; all vectors of components have the
/// same length. A slot that is not wanted holds nothing of interest.
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
    /// When they are, in units of 2⁻³² of the time of the shutter.
    pub time: Vec<u32>,
    /// Slots of the rays that are to be traced.
    pub wanted: Vec<u32>,
    /// Slots of further ones whose closest hits are wanted, each much like its
    /// neighbours in the list.
    pub alike: Vec<u32>,
    /// The first slot of those where any opaque hit will do, if there is one;
    /// before it, the closest hit is wanted.
    pub any_opaque_from: u32,
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

    /// Slots that it has.
    ///
    /// # Panics
    /// When the vectors differ in length.
    #[must_use]
    pub fn slots(&self) -> usize {
        let Self { t, instance, triangle, b, c, flags } = self;
        let mut lengths =
            [t.len(), b.len(), c.len(), instance.len(), triangle.len(), flags.len()].into_iter();
        assert!(lengths.all(|length| length == t.len()), "every hit has all of its parts");
        t.len()
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
            time: words(),
            wanted: Vec::with_capacity(slots),
            alike: Vec::with_capacity(slots),
            any_opaque_from: u32::MAX,
        }
    }

    /// Slots that it has.
    ///
    /// # Panics
    /// When the vectors of components differ in length.
    #[must_use]
    pub fn slots(&self) -> usize {
        let Self { origin, direction, t_min, t_max, after_instance, after_triangle, time, .. } = self;
        let floats = origin.iter().chain(direction).chain([t_min, t_max]).map(Vec::len);
        let mut lengths = floats.chain([after_instance.len(), after_triangle.len(), time.len()]);
        assert!(lengths.all(|length| length == t_min.len()), "every ray has all of its components");
        t_min.len()
    }
}

/// Words of a record.
pub const RECORD_WORDS: usize = 8;

/// Where records come from, and go when they are rendered. `slot` is the place of
/// a record in the bindings meanwhile.
pub trait Records {
    /// Writes the next record that is to be rendered; false where there is none.
    fn take(&mut self, slot: usize, record: &mut [u32]) -> bool;

    /// Takes back a record that was rendered.
    fn finish(&mut self, slot: usize, record: &[u32]);
}

/// Finds what rays hit, as `traverse` in `traverse.wgsl` does.
pub trait Tracer {
    /// Traces the rays that are wanted, and writes the hits of their slots and no
    /// others.
    fn trace(&self, rays: &RayBatch, hits: &mut HitBatch);
}
