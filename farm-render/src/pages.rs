//! How a scene's arrays are spread over bindings: those that are too large for one
//! lie in pages.

use std::ops::Range;

use crate::RenderError;
use crate::layout::SCENE_BUFFERS;

/// The most elements of an array: indices have 32 bits, and the last means none.
const MOST_ELEMENTS: u64 = u32::MAX as u64;

/// Names of the exponents of the pages' sizes, by the arrays that may lie in pages.
const PAGED_ARRAYS: [(usize, &str); 4] =
    [(0, "NODE_PAGE_BITS"), (1, "TRIANGLE_PAGE_BITS"), (2, "ATTRIBUTE_PAGE_BITS"), (6, "TEXEL_PAGE_BITS")];

/// Of these the first are in images where a device's kernels read those.
const ARRAYS_IN_IMAGES: usize = 2;

/// Sizes of the pages of a scene: for each array that lies in pages, the exponent of
/// the number of a page's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Paging([u32; PAGED_ARRAYS.len()]);

/// Where an array is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bindings {
    Image(u32),
    Buffers(Range<u32>),
}

/// What an adapter can bind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Bytes of a binding.
    pub(crate) binding: u64,
    /// Whether it has bindings enough for pages.
    pub(crate) can_page: bool,
    /// Rows of an image, where nodes and triangles lie in images.
    pub(crate) image_rows: Option<u32>,
}

impl Paging {
    /// Pages of at most so many bytes.
    fn new(page_bytes: u64) -> Self {
        Self(PAGED_ARRAYS.map(|(array, _)| (page_bytes / SCENE_BUFFERS[array].1).max(1).ilog2().min(31)))
    }

    /// The smallest pages that arrays of so many elements fit in.
    #[cfg(test)]
    pub(crate) fn tightest(counts: [u64; SCENE_BUFFERS.len()]) -> Self {
        Self(PAGED_ARRAYS.map(|(array, _)| {
            counts[array].div_ceil(shaders::PAGES.into()).max(1).next_power_of_two().ilog2()
        }))
    }

    /// The elements of a page of an array, if it lies in pages.
    pub(crate) fn page_elements(&self, array: usize) -> Option<u64> {
        let place = PAGED_ARRAYS.iter().position(|(paged, _)| *paged == array)?;
        Some(1 << self.0[place])
    }

    /// The overrides of the kernels.
    pub(crate) fn constants(&self, images: bool) -> impl Iterator<Item = (&'static str, f64)> {
        let all = PAGED_ARRAYS.into_iter().zip(self.0);
        all.filter(move |((array, _), _)| !(images && *array < ARRAYS_IN_IMAGES))
            .map(|((_, name), bits)| (name, f64::from(bits)))
    }
}

/// Where an array is bound, by its place in [`SCENE_BUFFERS`].
pub(crate) fn bindings(array: usize, images: bool, paged: bool) -> Bindings {
    let whole = 2 + u32::try_from(array).unwrap_or(u32::MAX);
    if images && array < ARRAYS_IN_IMAGES {
        return Bindings::Image(whole);
    }
    match (0..).zip(PAGED_ARRAYS).find(|(_, (paged, _))| *paged == array) {
        Some((place, _)) if paged => {
            let first = shaders::FIRST_PAGE_BINDING + place * shaders::PAGES;
            Bindings::Buffers(first..first + shaders::PAGES)
        }
        _ => Bindings::Buffers(whole..whole + 1),
    }
}

/// Decides whether arrays of so many elements lie in pages, and in which.
///
/// # Errors
/// When one is larger than the adapter can bind, with both sizes.
pub(crate) fn lay_out(
    counts: [u64; SCENE_BUFFERS.len()],
    room: &Room,
) -> Result<Option<Paging>, RenderError> {
    let Err(refusal) = check(counts, room, None) else { return Ok(None) };
    if !room.can_page {
        return Err(refusal);
    }
    let paging = Paging::new(room.binding);
    check(counts, room, Some(paging)).map(|()| Some(paging))
}

fn check(counts: [u64; SCENE_BUFFERS.len()], room: &Room, paging: Option<Paging>) -> Result<(), RenderError> {
    for (array, ((what, element), count)) in SCENE_BUFFERS.into_iter().zip(counts).enumerate() {
        let elements = match (bindings(array, room.image_rows.is_some(), paging.is_some()), room.image_rows) {
            (Bindings::Image(_), Some(rows)) => u64::from(shaders::IMAGE_ROW) * u64::from(rows),
            _ => match paging.and_then(|paging| paging.page_elements(array)) {
                Some(page) => page * u64::from(shaders::PAGES),
                None => room.binding / element,
            },
        };
        let elements = elements.min(MOST_ELEMENTS);
        if count.max(1) > elements {
            let needed = count.max(1).saturating_mul(element);
            let available = elements.saturating_mul(element);
            return Err(RenderError::OutOfMemory { what: what.to_owned(), needed, available });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use naga::{BinaryOperator, Expression, Handle, Statement, SwitchValue};

    use super::*;

    const ROOM: Room = Room { binding: 1 << 27, can_page: true, image_rows: None };

    /// Counts of which only one is not zero.
    fn only(array: usize, count: u64) -> [u64; SCENE_BUFFERS.len()] {
        let mut counts = [0; SCENE_BUFFERS.len()];
        counts[array] = count;
        counts
    }

    #[test]
    fn an_array_lies_in_pages_from_the_first_element_that_does_not_fit_a_binding() {
        for (array, _) in PAGED_ARRAYS {
            let most = ROOM.binding / SCENE_BUFFERS[array].1;
            assert_eq!(lay_out(only(array, most), &ROOM).expect("it fits"), None);
            let paging = lay_out(only(array, most + 1), &ROOM).expect("it fits").expect("it is in pages");
            let page = paging.page_elements(array).expect("it is in pages");
            assert!(page <= most && 2 * page > most, "the largest power of two that fits");
        }
    }

    #[test]
    fn an_array_beyond_its_pages_is_refused_with_both_sizes() {
        for (array, _) in PAGED_ARRAYS {
            let element = SCENE_BUFFERS[array].1;
            let page = Paging::new(ROOM.binding).page_elements(array).expect("it may be in pages");
            let most = page * u64::from(shaders::PAGES);
            assert!(lay_out(only(array, most), &ROOM).is_ok());
            let refused = lay_out(only(array, most + 1), &ROOM);
            let Err(RenderError::OutOfMemory { needed, available, .. }) = refused else {
                panic!("it does not fit");
            };
            assert_eq!((needed, available), ((most + 1) * element, most * element));
        }
    }

    #[test]
    fn what_has_no_pages_is_refused_at_a_binding() {
        let whole = Room { can_page: false, ..ROOM };
        let cases = (0..SCENE_BUFFERS.len()).map(|array| (array, &whole)).chain([(3, &ROOM), (5, &ROOM)]);
        for (array, room) in cases {
            let element = SCENE_BUFFERS[array].1;
            let most = room.binding / element;
            assert_eq!(lay_out(only(array, most), room).expect("it fits"), None);
            let refused = lay_out(only(array, most + 1), room);
            let Err(RenderError::OutOfMemory { needed, available, .. }) = refused else {
                panic!("it does not fit");
            };
            assert_eq!((needed, available), ((most + 1) * element, most * element));
        }
    }

    #[test]
    fn indices_of_32_bits_limit_every_array_however_large_bindings_are() {
        let room = Room { binding: 1 << 60, ..ROOM };
        for array in 0..SCENE_BUFFERS.len() {
            assert!(lay_out(only(array, MOST_ELEMENTS), &room).is_ok());
            assert!(lay_out(only(array, MOST_ELEMENTS + 1), &room).is_err());
        }
    }

    #[test]
    fn images_hold_as_many_as_they_have_rows() {
        let room = Room { image_rows: Some(16384), ..ROOM };
        let most = u64::from(shaders::IMAGE_ROW) * 16384;
        for array in 0..ARRAYS_IN_IMAGES {
            assert_eq!(lay_out(only(array, most), &room).expect("it fits"), None);
            assert!(lay_out(only(array, most + 1), &room).is_err());
        }
    }

    /// A function of the kernel that reads an element, for one index.
    struct Reading<'a> {
        module: &'a naga::Module,
        function: &'a naga::Function,
        constants: HashMap<&'static str, u32>,
        index: u32,
    }

    impl Reading<'_> {
        fn word(&self, expression: Handle<Expression>) -> u32 {
            match self.function.expressions[expression] {
                Expression::Literal(naga::Literal::U32(word)) => word,
                Expression::FunctionArgument(0) => self.index,
                Expression::Override(name) => {
                    let name = self.module.overrides[name].name.as_deref().expect("it has a name");
                    self.constants[name]
                }
                Expression::Binary { op, left, right } => {
                    let (left, right) = (self.word(left), self.word(right));
                    match op {
                        BinaryOperator::And => left & right,
                        BinaryOperator::Subtract => left.wrapping_sub(right),
                        BinaryOperator::ShiftLeft => left << right,
                        BinaryOperator::ShiftRight => left >> right,
                        _ => panic!("{op:?} is not expected"),
                    }
                }
                ref other => panic!("{other:?} is not expected"),
            }
        }

        /// What is returned.
        fn result(&self, block: &naga::Block) -> Option<Handle<Expression>> {
            block.iter().find_map(|statement| match statement {
                Statement::Emit(_) => None,
                Statement::Block(block) => self.result(block),
                Statement::Return { value } => *value,
                Statement::Switch { selector, cases } => {
                    let selected = SwitchValue::U32(self.word(*selector));
                    let by_value = cases.iter().find(|case| case.value == selected);
                    let default = || cases.iter().find(|case| case.value == SwitchValue::Default);
                    self.result(&by_value.or_else(default).expect("there is a default").body)
                }
                other => panic!("{other:?} is not expected"),
            })
        }

        /// The binding that is read, and the place in it.
        fn place(&self) -> (u32, u32) {
            let element = self.result(&self.function.body).expect("it returns an element");
            let Expression::Load { pointer } = self.function.expressions[element] else {
                panic!("an element is loaded")
            };
            let Expression::Access { base, index } = self.function.expressions[pointer] else {
                panic!("an element of an array is loaded")
            };
            let Expression::GlobalVariable(array) = self.function.expressions[base] else {
                panic!("an element of a binding is loaded")
            };
            let binding = self.module.global_variables[array].binding.expect("it is bound");
            (binding.binding, self.word(index))
        }
    }

    /// The kernels and the uploads each count pages by themselves.
    #[test]
    fn kernels_read_every_element_from_where_it_is_uploaded_to() {
        let readers = ["node_at", "triangle_at", "attribute_at", "texel_at"];
        let texts = [
            (shaders::PATH_TRACER_PAGED, false),
            (shaders::WAVEFRONT_PAGED, false),
            (shaders::PATH_TRACER_IMAGES_PAGED, true),
        ];
        for (text, images) in texts {
            let module = naga::front::wgsl::parse_str(text).expect("validated at build");
            for page_bytes in [1 << 10, 1 << 20, 1 << 27, u64::from(u32::MAX)] {
                let paging = Paging::new(page_bytes);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "exponents")]
                let constants = paging.constants(images).map(|(name, bits)| (name, bits as u32));
                let constants: HashMap<_, _> = constants.collect();
                for ((array, _), reader) in PAGED_ARRAYS.into_iter().zip(readers) {
                    let Bindings::Buffers(pages) = bindings(array, images, true) else { continue };
                    let (_, function) = module
                        .functions
                        .iter()
                        .find(|(_, function)| function.name.as_deref() == Some(reader))
                        .expect("the kernel reads it");
                    let size = paging.page_elements(array).expect("it is in pages");
                    for (first, binding) in (0..).step_by(usize::try_from(size).expect("small")).zip(pages) {
                        for place in [0, 1, size / 2, size - 1] {
                            let index = u32::try_from(first + place).expect("pages hold no more");
                            let constants = constants.clone();
                            let reading = Reading { module: &module, function, constants, index };
                            let wanted = (binding, u32::try_from(place).expect("less than the index"));
                            assert_eq!(reading.place(), wanted, "{reader} of {index} in pages of {size}");
                        }
                    }
                }
            }
        }
    }
}
