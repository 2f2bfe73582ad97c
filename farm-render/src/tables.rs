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

    #[test]
    fn tables_have_as_many_knots_as_the_kernel_reads() {
        let module = naga::front::wgsl::parse_str(shaders::PATH_TRACER).expect("validated at build");
        let constant = |name: &str| -> f64 {
            let found = module.constants.iter().find(|(_, constant)| constant.name.as_deref() == Some(name));
            let (_, constant) = found.unwrap_or_else(|| panic!("the kernel has no constant {name}"));
            match module.global_expressions[constant.init] {
                naga::Expression::Literal(naga::Literal::U32(value)) => value.into(),
                naga::Expression::Literal(naga::Literal::F32(value)) => value.into(),
                ref other => panic!("{name} is {other:?}"),
            }
        };
        for (name, value) in integrals::kernel_constants() {
            assert!((constant(name) - value).abs() < 1e-6, "{name} is {value} here");
        }
    }
}
