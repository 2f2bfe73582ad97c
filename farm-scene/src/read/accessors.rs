//! Accessors: typed arrays in buffers, dense, interleaved or sparse, as `f32`
//! vectors or `u32` indices.

use gltf::json;
use json::accessor::{ComponentType, Type};
use json::validation::Checked;

use super::buffers::{self, Buffers};
use super::named;
use crate::error::{Fault, Problem};
use crate::limits::SceneLimits;
use crate::validate::at_most;

/// Reads the accessors of one file.
pub(super) struct Accessors<'a> {
    pub(super) root: &'a json::Root,
    pub(super) buffers: &'a Buffers<'a>,
    pub(super) limits: &'a SceneLimits,
}

/// How integers become floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integers {
    /// As the accessor's `normalized` says.
    AsStated,
    /// Always normalised, for colours.
    Normalized,
}

/// A checked accessor: all its elements lie in the file.
struct Elements<'a> {
    place: String,
    count: usize,
    component: ComponentType,
    normalized: bool,
    /// Bytes and stride of the dense part; `None` is all zeros.
    dense: Option<(&'a [u8], usize)>,
    sparse: Option<Replacements<'a>>,
}

/// Indices below the count, in any order, and their values, densely packed.
type Replacements<'a> = (Vec<u32>, &'a [u8]);

impl Accessors<'_> {
    /// Vectors of `N` components, converted to `f32` and checked to be finite.
    pub(super) fn floats<const N: usize>(
        &self,
        index: usize,
        place: &str,
        integers: Integers,
    ) -> Result<Vec<[f32; N]>, Fault> {
        let elements = self.open::<N>(index, place)?;
        let normalized = elements.normalized || integers == Integers::Normalized;
        let values = match (elements.component, normalized) {
            (ComponentType::F32, _) => elements.read(f32::from_le_bytes),
            (ComponentType::U8, true) => elements.read(|[x]: [u8; 1]| f32::from(x) / 255.0),
            (ComponentType::U8, false) => elements.read(|[x]: [u8; 1]| f32::from(x)),
            (ComponentType::I8, true) => {
                elements.read(|x| (f32::from(i8::from_le_bytes(x)) / 127.0).max(-1.0))
            }
            (ComponentType::I8, false) => elements.read(|x| f32::from(i8::from_le_bytes(x))),
            (ComponentType::U16, true) => elements.read(|x| f32::from(u16::from_le_bytes(x)) / 65535.0),
            (ComponentType::U16, false) => elements.read(|x| f32::from(u16::from_le_bytes(x))),
            (ComponentType::I16, true) => {
                elements.read(|x| (f32::from(i16::from_le_bytes(x)) / 32767.0).max(-1.0))
            }
            (ComponentType::I16, false) => elements.read(|x| f32::from(i16::from_le_bytes(x))),
            (ComponentType::U32, _) => return Err(elements.wrong_type("32-bit floats or smaller integers")),
        };
        crate::validate::finite(values.iter().copied())
            .map_err(|problem| Fault::new(elements.place, problem))?;
        Ok(values)
    }

    /// Scalar indices.
    pub(super) fn indices(&self, index: usize, place: &str) -> Result<Vec<u32>, Fault> {
        Ok(self.unsigned(index, place)?.into_iter().map(|[value]| value).collect())
    }

    /// Vectors of `N` unsigned integers.
    pub(super) fn unsigned<const N: usize>(&self, index: usize, place: &str) -> Result<Vec<[u32; N]>, Fault> {
        let elements = self.open::<N>(index, place)?;
        let values = match elements.component {
            ComponentType::U8 => elements.read(|[x]: [u8; 1]| u32::from(x)),
            ComponentType::U16 => elements.read(|x| u32::from(u16::from_le_bytes(x))),
            ComponentType::U32 => elements.read(u32::from_le_bytes),
            ComponentType::I8 | ComponentType::I16 | ComponentType::F32 => {
                return Err(elements.wrong_type("unsigned integers"));
            }
        };
        Ok(values)
    }

    /// The number of an accessor's elements, before any is read.
    pub(super) fn count(&self, index: usize, place: &str) -> Result<u64, Fault> {
        Ok(named(&self.root.accessors, index, "accessor", place)?.count.0)
    }

    /// The components of an accessor's elements: 3 for `VEC3`.
    pub(super) fn components(&self, index: usize, place: &str) -> Result<usize, Fault> {
        match named(&self.root.accessors, index, "accessor", place)?.type_ {
            Checked::Valid(kind) => Ok(kind.multiplicity()),
            Checked::Invalid => {
                Err(Fault::new(place, Problem::Malformed("unknown accessor type".to_owned())))
            }
        }
    }

    fn open<const N: usize>(&self, index: usize, place: &str) -> Result<Elements<'_>, Fault> {
        let accessor = named(&self.root.accessors, index, "accessor", place)?;
        let place = format!("{place} (accessor {index})");
        let (component, count) =
            self.check::<N>(accessor).map_err(|problem| Fault::new(place.clone(), problem))?;
        let size = component.size() * N;
        let dense = self.dense(accessor, count, size, &place)?;
        let sparse = self.sparse(accessor, count, size, &place)?;
        Ok(Elements { place, count, component, normalized: accessor.normalized, dense, sparse })
    }

    fn check<const N: usize>(&self, accessor: &json::Accessor) -> Result<(ComponentType, usize), Problem> {
        let malformed = |text: &str| Problem::Malformed(text.to_owned());
        let Checked::Valid(component) = accessor.component_type else {
            return Err(malformed("unknown component type"));
        };
        let (Checked::Valid(kind), expected) = (accessor.type_, type_of(N)) else {
            return Err(malformed("unknown type"));
        };
        if kind != expected.0 {
            return Err(Problem::WrongType {
                found: format!("{kind:?}").to_uppercase(),
                expected: expected.1,
            });
        }
        let count = accessor.count.0;
        // Three indices for each stored triangle are the most of any use.
        at_most("elements", count, self.limits.vertices.max(3 * self.limits.triangles))?;
        if accessor.buffer_view.is_none() {
            at_most("elements without a buffer view", count, self.limits.unbacked_elements)?;
        }
        Ok((component.0, usize::try_from(count).expect("the limit fits a usize")))
    }

    fn dense(
        &self,
        accessor: &json::Accessor,
        count: usize,
        size: usize,
        place: &str,
    ) -> Result<Option<(&[u8], usize)>, Fault> {
        let Some(view) = accessor.buffer_view else {
            return Ok(None);
        };
        let (bytes, stride) = buffers::view(self.root, self.buffers, view.value(), place)?;
        let stride = stride.unwrap_or(size);
        let fault = |problem| Fault::new(place, problem);
        if !(size..=252).contains(&stride) && stride != size {
            let text = format!("a stride of {stride} bytes for elements of {size}");
            return Err(fault(Problem::Malformed(text)));
        }
        let last = (count as u64).saturating_sub(1) * stride as u64;
        let length = if count == 0 { 0 } else { last + size as u64 };
        let start = accessor.byte_offset.unwrap_or_default().0;
        let what = || format!("buffer view {}", view.value());
        Ok(Some((buffers::slice(bytes, start, length, what).map_err(fault)?, stride)))
    }

    fn sparse(
        &self,
        accessor: &json::Accessor,
        count: usize,
        size: usize,
        place: &str,
    ) -> Result<Option<Replacements<'_>>, Fault> {
        let Some(sparse) = &accessor.sparse else {
            return Ok(None);
        };
        let place = format!("{place}.sparse");
        let fault = |problem| Fault::new(&place, problem);
        at_most("sparse elements", sparse.count.0, count as u64).map_err(fault)?;
        let part = |view: usize, offset: u64, size: usize| {
            let (bytes, _) = buffers::view(self.root, self.buffers, view, &place)?;
            buffers::slice(bytes, offset, sparse.count.0 * size as u64, || format!("buffer view {view}"))
                .map_err(fault)
        };
        let Checked::Valid(component) = sparse.indices.component_type else {
            return Err(fault(Problem::Malformed("unknown component type of the indices".to_owned())));
        };
        let component = component.0;
        let bytes = part(sparse.indices.buffer_view.value(), sparse.indices.byte_offset.0, component.size())?;
        let indices: Vec<u32> = match component {
            ComponentType::U8 => bytes.iter().map(|&x| u32::from(x)).collect(),
            ComponentType::U16 => words::<2>(bytes).map(|x| u32::from(u16::from_le_bytes(x))).collect(),
            ComponentType::U32 => words::<4>(bytes).map(u32::from_le_bytes).collect(),
            _ => {
                let found = format!("{component:?} indices");
                return Err(fault(Problem::WrongType { found, expected: "unsigned integers" }));
            }
        };
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= count) {
            let (index, count) = (u64::from(index), count as u64);
            return Err(fault(Problem::IndexOutOfRange { what: "element", index, count }));
        }
        let values = part(sparse.values.buffer_view.value(), sparse.values.byte_offset.0, size)?;
        Ok(Some((indices, values)))
    }
}

impl Elements<'_> {
    /// Reads all elements; `SIZE` is the size of a component in bytes.
    fn read<T: Copy + Default, const N: usize, const SIZE: usize>(
        &self,
        convert: impl Fn([u8; SIZE]) -> T,
    ) -> Vec<[T; N]> {
        debug_assert_eq!(SIZE, self.component.size());
        let element = |bytes: &[u8]| {
            let mut components = words::<SIZE>(bytes);
            std::array::from_fn(|_| components.next().map_or(T::default(), &convert))
        };
        let mut values: Vec<[T; N]> = match self.dense {
            // The last element may be shorter than the stride, so it is taken
            // by `get` and not by `chunks_exact`.
            Some((bytes, stride)) => (0..self.count)
                .map(|i| element(bytes.get(i * stride..i * stride + SIZE * N).unwrap_or_default()))
                .collect(),
            None => vec![[T::default(); N]; self.count],
        };
        if let Some((indices, replacements)) = &self.sparse {
            for (&index, bytes) in indices.iter().zip(replacements.chunks_exact(SIZE * N)) {
                values[index as usize] = element(bytes);
            }
        }
        values
    }

    fn wrong_type(&self, expected: &'static str) -> Fault {
        let found = format!("{:?}", self.component).to_uppercase();
        Fault::new(&self.place, Problem::WrongType { found, expected })
    }
}

fn words<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; SIZE]> {
    bytes.chunks_exact(SIZE).map(|word| word.try_into().expect("chunks have exactly SIZE bytes"))
}

fn type_of(components: usize) -> (Type, &'static str) {
    match components {
        1 => (Type::Scalar, "SCALAR"),
        2 => (Type::Vec2, "VEC2"),
        3 => (Type::Vec3, "VEC3"),
        16 => (Type::Mat4, "MAT4"),
        _ => (Type::Vec4, "VEC4"),
    }
}
