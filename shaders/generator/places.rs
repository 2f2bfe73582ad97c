//! Where pointers lead: a local variable or a word of a buffer, and the steps
//! from there.

use naga::{AddressSpace, Expression, GlobalVariable, Handle, Scalar, Span, StorageAccess, Type, TypeInner};

use super::{Body, Result, types, unsupported};

/// What a pointer points to.
#[derive(Clone, Copy)]
pub(super) enum Pointee {
    Type(Handle<Type>),
    Scalar(Scalar),
}

/// A place that can be read, and maybe written.
pub(super) enum Place {
    /// A local variable or a part of it that all lanes share the way to.
    Local(String),
    /// Part of an element of a local array: the array, the index, what follows.
    Element { array: String, index: String, rest: String },
    /// Words of a buffer: its variable, the first word, and what varies of it.
    Buffer { variable: Handle<GlobalVariable>, constant: u32, varying: Option<String>, pointee: Pointee },
}

impl Body<'_> {
    /// Where an expression of pointer type leads.
    pub(super) fn place(&self, pointer: Handle<Expression>) -> Result<Place> {
        let span = self.function.expressions.get_span(pointer);
        let mut steps = Vec::new();
        let mut root = pointer;
        loop {
            match self.function.expressions[root] {
                Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
                    steps.push(root);
                    root = base;
                }
                Expression::LocalVariable(variable) => {
                    steps.reverse();
                    let ty = self.function.local_variables[variable].ty;
                    return self.local_place(&self.locals[&variable], ty, &steps);
                }
                Expression::GlobalVariable(variable) => {
                    steps.reverse();
                    return self.buffer_place(variable, &steps);
                }
                Expression::FunctionArgument(_) => {
                    return unsupported(span, "pointers as arguments: return the new value instead");
                }
                ref other => return unsupported(span, format!("a pointer made by {other:?}")),
            }
        }
    }

    /// Whether a place is of what lanes may have left as their result.
    fn is_left(&self, pointer: Handle<Expression>) -> bool {
        let mut root = pointer;
        while let Expression::Access { base, .. } | Expression::AccessIndex { base, .. } =
            self.function.expressions[root]
        {
            root = base;
        }
        let variable = match self.function.expressions[root] {
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        };
        self.has_left && variable.is_some() && variable == self.returned
    }

    fn local_place(&self, name: &str, ty: Handle<Type>, steps: &[Handle<Expression>]) -> Result<Place> {
        let mut pointee = Pointee::Type(ty);
        let mut text = name.to_owned();
        let mut element: Option<(String, String)> = None;
        for &step in steps {
            let span = self.function.expressions.get_span(step);
            match self.function.expressions[step] {
                Expression::AccessIndex { index, .. } => {
                    text.push_str(&self.step_text(pointee, index, span)?);
                    pointee = self.step_type(pointee, Some(index), span)?;
                }
                Expression::Access { index, .. } => {
                    if element.is_some() {
                        return unsupported(span, "more than one varying index into a local variable");
                    }
                    if !self.is_array(pointee) {
                        return unsupported(span, "a varying index into a local vector");
                    }
                    element = Some((std::mem::take(&mut text), self.render(index)?.text));
                    pointee = self.step_type(pointee, None, span)?;
                }
                ref other => return unsupported(span, format!("a pointer made by {other:?}")),
            }
        }
        Ok(match element {
            Some((array, index)) => Place::Element { array, index, rest: text },
            None => Place::Local(text),
        })
    }

    fn buffer_place(&self, variable: Handle<GlobalVariable>, steps: &[Handle<Expression>]) -> Result<Place> {
        let mut pointee = Pointee::Type(self.module.global_variables[variable].ty);
        let mut constant = 0;
        let mut varying: Option<String> = None;
        for &step in steps {
            let span = self.function.expressions.get_span(step);
            match self.function.expressions[step] {
                Expression::AccessIndex { index, .. } => {
                    constant += self.step_words(pointee, index, span)?;
                    pointee = self.step_type(pointee, Some(index), span)?;
                }
                Expression::Access { index, .. } => {
                    let stride = self.step_words(pointee, 1, span)?;
                    let index_text = self.index_text(index)?;
                    let term = if stride == 1 {
                        index_text.within(super::expressions::Level::Sum)
                    } else {
                        let factor = index_text.within(super::expressions::Level::Product);
                        format!("{factor} * U32::splat({stride})")
                    };
                    varying = Some(match varying {
                        Some(before) => format!("{before} + {term}"),
                        None => term,
                    });
                    pointee = self.step_type(pointee, None, span)?;
                }
                ref other => return unsupported(span, format!("a pointer made by {other:?}")),
            }
        }
        Ok(Place::Buffer { variable, constant, varying, pointee })
    }

    /// An index as unsigned lanes.
    fn index_text(&self, index: Handle<Expression>) -> Result<super::expressions::Text> {
        let text = self.render(index)?;
        match self.inner(index) {
            TypeInner::Scalar(Scalar { kind: naga::ScalarKind::Sint, .. }) => {
                Ok(super::expressions::Text::atom(format!("U32::from_i32({})", text.text)))
            }
            _ => Ok(text),
        }
    }

    fn is_array(&self, pointee: Pointee) -> bool {
        matches!(pointee, Pointee::Type(ty) if matches!(self.module.types[ty].inner, TypeInner::Array { .. }))
    }

    /// The text of a step to a member, component or element.
    fn step_text(&self, pointee: Pointee, index: u32, span: Span) -> Result<String> {
        let Pointee::Type(ty) = pointee else { return unsupported(span, "a part of a scalar") };
        match &self.module.types[ty].inner {
            TypeInner::Struct { members, .. } => {
                let name = members[index as usize].name.as_deref().unwrap_or("member");
                Ok(format!(".{}", super::safe_name(name)))
            }
            TypeInner::Vector { .. } => Ok(format!(".{}", component(index))),
            TypeInner::Array { .. } => Ok(format!("[{index}]")),
            other => unsupported(span, format!("a part of {other:?}")),
        }
    }

    /// Words from a value's beginning to one of its parts.
    fn step_words(&self, pointee: Pointee, index: u32, span: Span) -> Result<u32> {
        let Pointee::Type(ty) = pointee else { return unsupported(span, "a part of a scalar") };
        match &self.module.types[ty].inner {
            TypeInner::Struct { members, .. } => Ok(members[index as usize].offset / 4),
            TypeInner::Vector { .. } => Ok(index),
            TypeInner::Array { stride, .. } => Ok(index * stride / 4),
            other => unsupported(span, format!("a part of {other:?}")),
        }
    }

    fn step_type(&self, pointee: Pointee, index: Option<u32>, span: Span) -> Result<Pointee> {
        let Pointee::Type(ty) = pointee else { return unsupported(span, "a part of a scalar") };
        match &self.module.types[ty].inner {
            TypeInner::Struct { members, .. } => match index {
                Some(index) => Ok(Pointee::Type(members[index as usize].ty)),
                None => unsupported(span, "a varying index into a struct"),
            },
            TypeInner::Vector { scalar, .. } => Ok(Pointee::Scalar(*scalar)),
            TypeInner::Array { base, .. } => Ok(Pointee::Type(*base)),
            other => unsupported(span, format!("a part of {other:?}")),
        }
    }

    /// The value at a place, as text that can be followed by a dot.
    pub(super) fn load(&self, pointer: Handle<Expression>) -> Result<String> {
        let span = self.function.expressions.get_span(pointer);
        match self.place(pointer)? {
            Place::Local(text) => Ok(text),
            Place::Element { array, index, rest } => Ok(format!("element(&{array}, {index}){rest}")),
            Place::Buffer { variable, constant, varying, pointee } => {
                let name = self.buffer(variable);
                let is_uniform = self.module.global_variables[variable].space == AddressSpace::Uniform;
                match (varying, pointee) {
                    (None, Pointee::Type(ty)) if is_uniform => {
                        types::load_uniform(self.module, ty, &name, constant, span)
                    }
                    (None, Pointee::Scalar(scalar)) if is_uniform => {
                        types::load_uniform_scalar(scalar, &name, constant, span)
                    }
                    (varying, Pointee::Type(ty)) => {
                        types::load(self.module, ty, &name, &at(constant, varying), span)
                    }
                    (varying, Pointee::Scalar(scalar)) => {
                        let scalar = types::scalar_name(scalar, span)?;
                        Ok(format!("<{scalar}>::load(live, {name}, {})", at(constant, varying)))
                    }
                }
            }
        }
    }

    /// Writes a value for the live lanes.
    pub(super) fn store(&mut self, pointer: Handle<Expression>, value: &str) -> Result<()> {
        let span = self.function.expressions.get_span(pointer);
        match self.place(pointer)? {
            Place::Local(target) if self.masked || self.is_left(pointer) => {
                self.out.line(format!("{target} = select(live, {value}, {target});"));
            }
            Place::Local(target) => self.out.line(format!("{target} = {value};")),
            Place::Element { array, index, rest } if rest.is_empty() => {
                self.out.line(format!("put_element(live, &mut {array}, {index}, {value});"));
            }
            Place::Element { array, index, rest } => {
                let changed = self.unique("changed");
                self.out.line(format!("let mut {changed} = element(&{array}, {index});"));
                self.out.line(format!("{changed}{rest} = {value};"));
                self.out.line(format!("put_element(live, &mut {array}, {index}, {changed});"));
            }
            Place::Buffer { variable, constant, varying, .. } => {
                let space = self.module.global_variables[variable].space;
                if !matches!(space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE))
                {
                    return unsupported(span, "writing to a buffer that is only read");
                }
                let name = self.buffer(variable);
                let at = at(constant, varying);
                self.out.line(format!("let at = {at};"));
                self.out.line(format!("({value}).store(live, {name}, at);"));
            }
        }
        Ok(())
    }

    fn buffer(&self, variable: Handle<GlobalVariable>) -> String {
        let name = self.module.global_variables[variable].name.as_deref().unwrap_or("buffer");
        format!("bindings.{name}")
    }
}

/// The first word of a value as lanes.
fn at(constant: u32, varying: Option<String>) -> String {
    match (constant, varying) {
        (constant, None) => format!("U32::splat({constant})"),
        (0, Some(varying)) => varying,
        (constant, Some(varying)) => format!("{varying} + U32::splat({constant})"),
    }
}

/// The name of a vector's component.
pub(super) fn component(index: u32) -> &'static str {
    ["x", "y", "z", "w"][index as usize & 3]
}
