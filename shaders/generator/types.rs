//! Types, their words in a buffer, and the structs' code.

use std::collections::BTreeSet;

use naga::{ArraySize, Handle, Module, Scalar, ScalarKind, Span, Type, TypeInner, VectorSize};

use super::{Generator, Result, unsupported};

/// The lanes of a scalar.
pub(super) fn scalar_name(scalar: Scalar, span: Span) -> Result<&'static str> {
    match (scalar.kind, scalar.width) {
        (ScalarKind::Float, 4) => Ok("F32"),
        (ScalarKind::Sint, 4) => Ok("I32"),
        (ScalarKind::Uint, 4) => Ok("U32"),
        (ScalarKind::Bool, _) => Ok("Mask"),
        (kind, width) => unsupported(span, format!("scalars of kind {kind:?} and {width} bytes")),
    }
}

/// The value that an override has where it is not overridden, if it is a switch.
pub(super) fn switch(module: &Module, switch: &naga::Override) -> Option<bool> {
    match module.global_expressions[switch.init?] {
        naga::Expression::Literal(naga::Literal::Bool(value)) => Some(value),
        _ => None,
    }
}

pub(super) fn size_of(size: VectorSize) -> u32 {
    match size {
        VectorSize::Bi => 2,
        VectorSize::Tri => 3,
        VectorSize::Quad => 4,
    }
}

/// The name of a type that is no pointer.
pub(super) fn inner_name(module: &Module, inner: &TypeInner, span: Span) -> Result<String> {
    match *inner {
        TypeInner::Scalar(scalar) => Ok(scalar_name(scalar, span)?.to_owned()),
        TypeInner::Vector { size, scalar } => {
            Ok(format!("Vec{}<{}>", size_of(size), scalar_name(scalar, span)?))
        }
        TypeInner::Array { base, size: ArraySize::Constant(count), .. } => {
            Ok(format!("[{}; {count}]", name(module, base, span)?))
        }
        ref other => unsupported(span, format!("values of type {other:?}")),
    }
}

pub(super) fn name(module: &Module, ty: Handle<Type>, span: Span) -> Result<String> {
    match (&module.types[ty].name, &module.types[ty].inner) {
        (Some(name), TypeInner::Struct { .. }) => Ok(name.clone()),
        (_, inner) => inner_name(module, inner, span),
    }
}

/// Words that a value takes in a buffer.
pub(super) fn words(module: &Module, ty: Handle<Type>, span: Span) -> Result<u32> {
    match module.types[ty].inner {
        TypeInner::Scalar(_) => Ok(1),
        TypeInner::Vector { size, .. } => Ok(size_of(size)),
        TypeInner::Array { size: ArraySize::Constant(count), stride, .. } => Ok(stride / 4 * count.get()),
        TypeInner::Struct { span: bytes, .. } => Ok(bytes / 4),
        ref other => unsupported(span, format!("a buffer of {other:?}")),
    }
}

/// The zero value.
pub(super) fn zero(module: &Module, ty: Handle<Type>, span: Span) -> Result<String> {
    match module.types[ty].inner {
        TypeInner::Array { base, size: ArraySize::Constant(count), .. } => {
            Ok(format!("[{}; {count}]", zero(module, base, span)?))
        }
        _ => Ok(format!("<{}>::default()", name(module, ty, span)?)),
    }
}

/// Reads a value whose first word is at `at`, which is text.
pub(super) fn load(module: &Module, ty: Handle<Type>, buffer: &str, at: &str, span: Span) -> Result<String> {
    match module.types[ty].inner {
        TypeInner::Array { base, size: ArraySize::Constant(_), stride } => {
            let step = stride / 4;
            let element =
                load(module, base, buffer, &format!("at + U32::splat({step} * element as u32)"), span)?;
            Ok(format!("{{ let at = {at}; std::array::from_fn(|element| {element}) }}"))
        }
        _ => Ok(format!("<{}>::load(live, {buffer}, {at})", name(module, ty, span)?)),
    }
}

/// Reads a value of a uniform buffer, whose place is the same for all lanes.
pub(super) fn load_uniform(
    module: &Module,
    ty: Handle<Type>,
    buffer: &str,
    at: u32,
    span: Span,
) -> Result<String> {
    match module.types[ty].inner {
        TypeInner::Scalar(scalar) => load_uniform_scalar(scalar, buffer, at, span),
        TypeInner::Vector { size, scalar } => {
            let parts: Result<Vec<String>> =
                (0..size_of(size)).map(|i| load_uniform_scalar(scalar, buffer, at + i, span)).collect();
            Ok(format!("Vec{}::new({})", size_of(size), parts?.join(", ")))
        }
        ref other => unsupported(span, format!("reading {other:?} of a uniform buffer as a whole")),
    }
}

pub(super) fn load_uniform_scalar(scalar: Scalar, buffer: &str, at: u32, span: Span) -> Result<String> {
    match scalar_name(scalar, span)? {
        "F32" => Ok(format!("F32::splat(f32::from_bits({buffer}[{at}]))")),
        "U32" => Ok(format!("U32::splat({buffer}[{at}])")),
        "I32" => Ok(format!("I32::splat({buffer}[{at}].cast_signed())")),
        _ => unsupported(span, "a boolean in a buffer"),
    }
}

impl Generator<'_> {
    /// The struct of lanes for a struct of the WGSL.
    pub(super) fn structure(&mut self, handle: Handle<Type>, ty: &Type) -> Result<()> {
        let (&TypeInner::Struct { ref members, span: bytes }, Some(name_of_struct)) = (&ty.inner, &ty.name)
        else {
            return Ok(());
        };
        let span = self.module.types.get_span(handle);
        let is_value = |ty: Handle<Type>| {
            !matches!(self.module.types[ty].inner, TypeInner::Array { size: ArraySize::Dynamic, .. })
        };
        if !members.iter().all(|member| is_value(member.ty)) {
            return Ok(());
        }
        let mut fields = Vec::new();
        for member in members {
            let field = super::safe_name(member.name.as_deref().unwrap_or("member"));
            fields.push((field, name(self.module, member.ty, span)?, member));
        }
        self.out.line("");
        if let Some(source) = (self.options.source_of)(name_of_struct) {
            self.out.line(format!("/// `{source}`"));
        }
        self.out.line("#[derive(Clone, Copy, Debug)]");
        self.out.open(format!("pub struct {name_of_struct} {{"));
        for (field, ty, _) in &fields {
            self.out.line(format!("pub {field}: {ty},"));
        }
        self.out.close("}");

        self.out.open(format!("impl Default for {name_of_struct} {{"));
        self.out.line("#[inline(always)]");
        self.out.open("fn default() -> Self {");
        self.out.open("Self {");
        for (field, _, member) in &fields {
            let zero = zero(self.module, member.ty, span)?;
            self.out.line(format!("{field}: {zero},"));
        }
        self.out.close("}");
        self.out.close("}");
        self.out.close("}");

        self.out.open(format!("impl Select for {name_of_struct} {{"));
        self.out.line("#[inline(always)]");
        self.out.open("fn select(mask: Mask, accept: Self, reject: Self) -> Self {");
        self.out.open("Self {");
        for (field, ..) in &fields {
            self.out.line(format!("{field}: select(mask, accept.{field}, reject.{field}),"));
        }
        self.out.close("}");
        self.out.close("}");
        self.out.close("}");

        self.out.open(format!("impl Lanes for {name_of_struct} {{"));
        self.out.line(format!("type Single = single::{name_of_struct};"));
        self.out.line("#[inline(always)]");
        self.out.open("fn lane_of(self, lane: usize) -> Self::Single {");
        self.out.open(format!("single::{name_of_struct} {{"));
        for (field, ..) in &fields {
            self.out.line(format!("{field}: Lanes::lane_of(self.{field}, lane),"));
        }
        self.out.close("}");
        self.out.close("}");
        self.out.line("#[inline(always)]");
        self.out.open("fn put_lane(&mut self, lane: usize, single: Self::Single) {");
        for (field, ..) in &fields {
            self.out.line(format!("Lanes::put_lane(&mut self.{field}, lane, single.{field});"));
        }
        self.out.close("}");
        self.out.close("}");

        self.memory(name_of_struct, &fields, bytes / 16, span)
    }

    /// Reading and writing a struct, where all its members can lie in memory.
    fn memory(
        &mut self,
        name_of_struct: &str,
        fields: &[(String, String, &naga::StructMember)],
        whole_rows: u32,
        span: Span,
    ) -> Result<()> {
        if !fields.iter().all(|(.., member)| can_lie_in_memory(self.module, member.ty)) {
            return Ok(());
        }
        self.out.open(format!("impl {name_of_struct} {{"));
        self.out.line("/// Reads a value for the live lanes, whose first words are at `at`.");
        self.attributes(true);
        self.out.open("pub fn load(live: Mask, words: &[u32], at: U32) -> Self {");
        let mut rows = BTreeSet::new();
        let mut values = Vec::new();
        for (field, _, member) in fields {
            let value = match self.of_row(member, whole_rows) {
                Some((row, value)) => {
                    rows.insert(row);
                    value
                }
                None => {
                    let at = format!("at + U32::splat({})", member.offset / 4);
                    load(self.module, member.ty, "words", &at, span)?
                }
            };
            values.push(format!("{field}: {value},"));
        }
        for row in rows {
            self.out.line(format!("let row_{row} = gather_row(live, words, at + U32::splat({}));", 4 * row));
        }
        self.out.open("Self {");
        for value in values {
            self.out.line(value);
        }
        self.out.close("}");
        self.out.close("}");
        if fields.iter().all(|(_, ty, _)| !ty.starts_with('[')) {
            self.out.line("/// Writes the live lanes' values, whose first words are at `at`.");
            self.attributes(true);
            self.out.open("pub fn store(self, live: Mask, words: &mut [u32], at: U32) {");
            for (field, _, member) in fields {
                let offset = member.offset / 4;
                self.out.line(format!("self.{field}.store(live, words, at + U32::splat({offset}));"));
            }
            self.out.close("}");
        }
        self.out.close("}");
        Ok(())
    }
}

impl Generator<'_> {
    /// A member that lies within one of the first `whole_rows` rows of four words
    /// of its struct, which are read at once: the number of the row, and the value
    /// in its terms.
    fn of_row(&self, member: &naga::StructMember, whole_rows: u32) -> Option<(u32, String)> {
        let (row, first) = (member.offset / 16, member.offset / 4 % 4);
        let (count, scalar) = match self.module.types[member.ty].inner {
            TypeInner::Scalar(scalar) => (1, scalar),
            TypeInner::Vector { size, scalar } => (size_of(size), scalar),
            _ => return None,
        };
        if row >= whole_rows || first + count > 4 {
            return None;
        }
        let scalar = scalar_name(scalar, Span::UNDEFINED).ok()?;
        let part = |word: u32| format!("{scalar}::from_word(row_{row}[{word}])");
        let parts: Vec<String> = (first..first + count).map(part).collect();
        let value = match count {
            1 => parts.concat(),
            _ => format!("Vec{count}::new({})", parts.join(", ")),
        };
        Some((row, value))
    }
}

/// Whether a buffer can hold values of a type: booleans have no bits there.
fn can_lie_in_memory(module: &Module, ty: Handle<Type>) -> bool {
    match &module.types[ty].inner {
        TypeInner::Struct { members, .. } => {
            members.iter().all(|member| can_lie_in_memory(module, member.ty))
        }
        TypeInner::Array { base, .. } => can_lie_in_memory(module, *base),
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => scalar.kind != ScalarKind::Bool,
        _ => false,
    }
}
