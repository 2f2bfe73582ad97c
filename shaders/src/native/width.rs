//! Which of the native versions to run, and running it.

use super::driver::{FETCH_SHARE, State, driver_of};
use super::rays::{HitBatch, RECORD_WORDS, RayBatch, Records, Tracer};
use super::{Bindings, scalar};

/// Lanes that native code works on at once. Widths give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Width(Kind);

/// Private, so that there is no [`Width`] that this processor cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    One,
    #[cfg(target_arch = "x86_64")]
    Eight,
    #[cfg(target_arch = "x86_64")]
    Sixteen,
}

impl Width {
    /// One lane, which every processor has.
    pub const ONE: Self = Self(Kind::One);

    /// Every width that this processor can run, narrowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "one lane is all there is"))]
        let mut widths = vec![Self::ONE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                widths.push(Self(Kind::Eight));
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    widths.push(Self(Kind::Sixteen));
                }
            }
        }
        widths
    }

    /// The widest that this processor can run.
    #[must_use]
    pub fn widest() -> Self {
        Self::available().pop().unwrap_or(Self::ONE)
    }

    /// How many lanes.
    #[must_use]
    pub fn lanes(self) -> u32 {
        match self.0 {
            Kind::One => 1,
            #[cfg(target_arch = "x86_64")]
            Kind::Eight => 8,
            #[cfg(target_arch = "x86_64")]
            Kind::Sixteen => 16,
        }
    }

    /// The instructions that it stands for, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::One => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Eight => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::Sixteen => "AVX-512",
        }
    }
}

/// Renders all of `records`, as many at a time as the bindings have room for:
/// `params.record_count`, which must be a multiple of the lanes. `tracer` finds
/// what rays hit.
///
/// # Panics
/// When there is not so much room.
pub fn render_blocks(
    width: Width,
    bindings: &mut Bindings<'_>,
    records: &mut dyn Records,
    tracer: &dyn Tracer,
) {
    let room = u32::from(scalar::record_count(bindings)) as usize;
    assert!(room > 0 && room.is_multiple_of(width.lanes() as usize), "a multiple of the lanes");
    assert_eq!(bindings.records.len(), room * RECORD_WORDS, "room for as many records");
    match width.0 {
        Kind::One => render_blocks_1(bindings, records, tracer),
        #[cfg(target_arch = "x86_64")]
        Kind::Eight => {
            // SAFETY: `Width::available`, the only source of this width, has
            // detected the features that the function is compiled for.
            unsafe { render_blocks_8(bindings, records, tracer) }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Sixteen => {
            // SAFETY: as above.
            unsafe { render_blocks_16(bindings, records, tracer) }
        }
    }
}

driver_of!(render_blocks_1, lanes1, scalar);
#[cfg(target_arch = "x86_64")]
driver_of!(render_blocks_8, lanes8, avx2, "avx2");
#[cfg(target_arch = "x86_64")]
driver_of!(render_blocks_16, lanes16, avx512, "avx2,avx512f,avx512bw,avx512dq,avx512vl");
