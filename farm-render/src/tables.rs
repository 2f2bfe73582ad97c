//! Tables that the kernel reads: inverse distributions of the pixel filters and
//! albedos of the lobes, as the build script computed them
//! ([`integrals`]).

#[cfg(test)]
mod integrals;

use farm_core::PixelFilter;

/// The words of every table, little-endian.
static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tables.bin"));

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// The words of every table.
pub(crate) fn words() -> impl Iterator<Item = u32> {
    let (words, _) = BYTES.as_chunks::<4>();
    words.iter().copied().map(u32::from_le_bytes)
}

/// The kernel's number for a filter and the first word of its table.
pub(crate) fn filter(filter: PixelFilter) -> (u32, u32) {
    match filter {
        PixelFilter::Box => (0, 0),
        PixelFilter::Gaussian => (1, GAUSSIAN),
        PixelFilter::BlackmanHarris => (2, BLACKMAN_HARRIS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_lie_where_they_are_said_to() {
        let [albedo, gaussian, blackman_harris, glass, sheen] = integrals::all_tables();
        let all: Vec<u32> = words().collect();
        let at = |start: u32, table: &[u32]| all[start as usize..].starts_with(table);
        assert!(at(ALBEDO, &albedo) && at(GAUSSIAN, &gaussian) && at(BLACKMAN_HARRIS, &blackman_harris));
        assert!(at(GLASS, &glass) && at(SHEEN, &sheen));
    }
}
