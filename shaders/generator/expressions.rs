//! Expressions as text.

use naga::{
    BinaryOperator, Expression, Handle, Literal, MathFunction, RelationalFunction, Scalar, ScalarKind, Span,
    TypeInner, UnaryOperator,
};

use super::places::component;
use super::{Body, Result, types, unsupported};

/// How tightly the outermost operator of a text binds, as Rust has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or,
    Xor,
    And,
    Shift,
    Sum,
    Product,
    Prefix,
    Atom,
}

/// The text of an expression.
pub(super) struct Text {
    pub(super) text: String,
    level: Level,
}

impl Text {
    pub(super) fn atom(text: impl Into<String>) -> Self {
        Self { text: text.into(), level: Level::Atom }
    }

    /// The text, in parentheses where an operator of this level would tear it.
    pub(super) fn within(self, level: Level) -> String {
        if self.level < level { format!("({})", self.text) } else { self.text }
    }

    /// The text as what a method is called on.
    fn receiver(self) -> String {
        self.within(Level::Atom)
    }
}

/// Scalars of a value: how many, and of what kind.
struct Shape {
    /// 1 for a scalar.
    size: u32,
    scalar: Scalar,
}

impl Body<'_> {
    pub(super) fn inner(&self, expression: Handle<Expression>) -> &TypeInner {
        self.info[expression].ty.inner_with(&self.module.types)
    }

    pub(super) fn is_pointer(&self, expression: Handle<Expression>) -> bool {
        matches!(self.inner(expression), TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. })
    }

    fn shape(&self, expression: Handle<Expression>) -> Option<Shape> {
        match *self.inner(expression) {
            TypeInner::Scalar(scalar) => Some(Shape { size: 1, scalar }),
            TypeInner::Vector { size, scalar } => Some(Shape { size: types::size_of(size), scalar }),
            _ => None,
        }
    }

    /// The text of a value.
    pub(super) fn render(&self, handle: Handle<Expression>) -> Result<Text> {
        if let Some(name) = self.names.get(&handle) {
            return Ok(Text::atom(name));
        }
        let span = self.function.expressions.get_span(handle);
        match &self.function.expressions[handle] {
            Expression::Literal(literal) => literal_text(*literal, span).map(Text::atom),
            Expression::Constant(constant) => {
                let naga::Constant { name, init, .. } = &self.module.constants[*constant];
                self.constant(name.as_deref(), *init, span)
            }
            Expression::Override(name)
                if types::switch(self.module, &self.module.overrides[*name]).is_some() =>
            {
                let name = self.module.overrides[*name].name.as_deref().unwrap_or_default();
                Ok(Text::atom(format!("Mask::splat(bindings.overrides.{name})")))
            }
            // Native code keeps the value that the WGSL gives.
            Expression::Override(constant) => {
                let naga::Override { name, init, .. } = &self.module.overrides[*constant];
                let Some(init) = init else {
                    return unsupported(span, format!("the override {name:?}, which has no value"));
                };
                self.constant(name.as_deref(), *init, span)
            }
            Expression::ZeroValue(ty) => types::zero(self.module, *ty, span).map(Text::atom),
            Expression::Compose { ty, components } => self.compose(*ty, components, span),
            Expression::AccessIndex { base, index } => self.part(*base, *index, span),
            Expression::Access { base, index } => self.varying_part(*base, *index, span),
            Expression::Splat { size, value } => {
                let value = self.render(*value)?.text;
                Ok(Text::atom(format!("Vec{}::splat({value})", types::size_of(*size))))
            }
            Expression::Swizzle { size, vector, pattern } => {
                let parts: Vec<String> = pattern[..types::size_of(*size) as usize]
                    .iter()
                    .map(|part| format!("v.{}", component(*part as u32)))
                    .collect();
                let vector = self.render(*vector)?.text;
                let constructor = format!("Vec{}::new", parts.len());
                Ok(if is_path(&vector) {
                    let parts: Vec<String> =
                        parts.iter().map(|part| format!("{vector}{}", &part[1..])).collect();
                    Text::atom(format!("{constructor}({})", parts.join(", ")))
                } else {
                    Text::atom(format!("{{ let v = {vector}; {constructor}({}) }}", parts.join(", ")))
                })
            }
            Expression::FunctionArgument(index) => {
                Ok(Text::atom(self.arguments[usize::try_from(*index).unwrap_or(0)].clone()))
            }
            Expression::Load { pointer } => self.load_or_fold(*pointer),
            Expression::Unary { op, expr } => self.unary(*op, *expr),
            Expression::Binary { op, left, right } => self.binary(*op, *left, *right, span),
            Expression::Select { condition, accept, reject } => self.select(*condition, *accept, *reject),
            Expression::Relational { fun, argument } => self.relational(*fun, *argument, span),
            Expression::Math { fun, arg, arg1, arg2, .. } => self.math(*fun, *arg, *arg1, *arg2, span),
            Expression::As { expr, kind, convert } => self.convert(*expr, *kind, convert.is_some(), span),
            Expression::ArrayLength(_) => unsupported(span, "`arrayLength`: pass the length as a parameter"),
            other => unsupported(span, format!("the expression {other:?}")),
        }
    }

    fn constant(&self, name: Option<&str>, init: Handle<Expression>, span: Span) -> Result<Text> {
        match (name, &self.module.global_expressions[init]) {
            (Some(name), Expression::Literal(Literal::F32(_))) => {
                Ok(Text::atom(format!("F32::splat({name})")))
            }
            (Some(name), Expression::Literal(Literal::U32(_))) => {
                Ok(Text::atom(format!("U32::splat({name})")))
            }
            (Some(name), Expression::Literal(Literal::I32(_))) => {
                Ok(Text::atom(format!("I32::splat({name})")))
            }
            (Some(name), Expression::Literal(Literal::Bool(_))) => {
                Ok(Text::atom(format!("Mask::splat({name})")))
            }
            (_, Expression::Literal(literal)) => literal_text(*literal, span).map(Text::atom),
            (name, _) => unsupported(span, format!("the constant {name:?}, which is no scalar")),
        }
    }

    fn compose(&self, ty: Handle<naga::Type>, components: &[Handle<Expression>], span: Span) -> Result<Text> {
        let parts: Result<Vec<String>> = components.iter().map(|&part| Ok(self.render(part)?.text)).collect();
        let parts = parts?;
        match &self.module.types[ty].inner {
            TypeInner::Struct { members, .. } => {
                let fields: Vec<String> = members
                    .iter()
                    .zip(&parts)
                    .map(|(member, value)| {
                        let field = super::safe_name(member.name.as_deref().unwrap_or("member"));
                        if field == *value { field } else { format!("{field}: {value}") }
                    })
                    .collect();
                let name = types::name(self.module, ty, span)?;
                Ok(Text::atom(format!("{name} {{ {} }}", fields.join(", "))))
            }
            TypeInner::Array { .. } => Ok(Text::atom(format!("[{}]", parts.join(", ")))),
            TypeInner::Vector { size, .. } => self.compose_vector(types::size_of(*size), components, &parts),
            other => unsupported(span, format!("a value of type {other:?}")),
        }
    }

    /// A vector of scalars and of smaller vectors.
    fn compose_vector(&self, size: u32, components: &[Handle<Expression>], parts: &[String]) -> Result<Text> {
        let mut scalars = Vec::new();
        let mut bound = String::new();
        for (place, (&component_of, part)) in components.iter().zip(parts).enumerate() {
            match self.shape(component_of) {
                Some(Shape { size: 1, .. }) | None => scalars.push(part.clone()),
                Some(Shape { size, .. }) => {
                    let name = if is_path(part) {
                        part.clone()
                    } else {
                        bound.push_str(&format!("let v{place} = {part}; "));
                        format!("v{place}")
                    };
                    scalars.extend((0..size).map(|i| format!("{name}.{}", component(i))));
                }
            }
        }
        let text = format!("Vec{size}::new({})", scalars.join(", "));
        Ok(Text::atom(if bound.is_empty() { text } else { format!("{{ {bound}{text} }}") }))
    }

    /// A member, component or element of a value.
    fn part(&self, base: Handle<Expression>, index: u32, span: Span) -> Result<Text> {
        let text = self.render(base)?.receiver();
        match self.inner(base) {
            TypeInner::Vector { .. } => Ok(Text::atom(format!("{text}.{}", component(index)))),
            TypeInner::Array { .. } => Ok(Text::atom(format!("{text}[{index}]"))),
            TypeInner::Struct { members, .. } => {
                let name = members[usize::try_from(index).unwrap_or(0)].name.as_deref().unwrap_or("member");
                Ok(Text::atom(format!("{text}.{}", super::safe_name(name))))
            }
            other => unsupported(span, format!("a part of {other:?}")),
        }
    }

    fn varying_part(&self, base: Handle<Expression>, index: Handle<Expression>, span: Span) -> Result<Text> {
        match self.inner(base) {
            TypeInner::Array { .. } => {
                let (base, index) = (self.render(base)?.text, self.render(index)?.text);
                Ok(Text::atom(format!("element(&{base}, {index})")))
            }
            _ => unsupported(span, "a varying index into a vector: choose by `select`"),
        }
    }

    fn load_or_fold(&self, pointer: Handle<Expression>) -> Result<Text> {
        if let Expression::LocalVariable(variable) = self.function.expressions[pointer]
            && let Some(fold) = self.folds.get(&variable)
        {
            let (operator, level) = if fold.is_and { ("&", Level::And) } else { ("|", Level::Or) };
            let left = self.render(fold.left)?.within(level);
            let right = self.render(fold.right)?.within(level);
            return Ok(Text { text: format!("{left} {operator} {right}"), level });
        }
        self.load(pointer).map(Text::atom)
    }

    fn unary(&self, op: UnaryOperator, operand: Handle<Expression>) -> Result<Text> {
        let operand = self.render(operand)?.within(Level::Prefix);
        let operator = match op {
            UnaryOperator::Negate => "-",
            UnaryOperator::LogicalNot | UnaryOperator::BitwiseNot => "!",
        };
        Ok(Text { text: format!("{operator}{operand}"), level: Level::Prefix })
    }

    fn binary(
        &self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
        span: Span,
    ) -> Result<Text> {
        let (Some(left_shape), Some(right_shape)) = (self.shape(left), self.shape(right)) else {
            return unsupported(span, "operators on what is neither scalar nor vector");
        };
        if let Some(method) = comparison(op) {
            return self.pair(left, right, left_shape, method, span);
        }
        let is_float = left_shape.scalar.kind == ScalarKind::Float;
        let (operator, level) = match op {
            BinaryOperator::Add => ("+", Level::Sum),
            BinaryOperator::Subtract => ("-", Level::Sum),
            BinaryOperator::Multiply => ("*", Level::Product),
            BinaryOperator::Divide => ("/", Level::Product),
            BinaryOperator::Modulo if is_float => {
                return unsupported(span, "`%` of floats: its rounding is the driver's");
            }
            BinaryOperator::Modulo => ("%", Level::Product),
            BinaryOperator::And | BinaryOperator::LogicalAnd => ("&", Level::And),
            BinaryOperator::ExclusiveOr => ("^", Level::Xor),
            BinaryOperator::InclusiveOr | BinaryOperator::LogicalOr => ("|", Level::Or),
            BinaryOperator::ShiftLeft => ("<<", Level::Shift),
            BinaryOperator::ShiftRight => (">>", Level::Shift),
            _ => return unsupported(span, format!("the operator {op:?}")),
        };
        let widened = |text: Text, own: u32, other: u32, tighter: bool| {
            if own == 1 && other > 1 {
                format!("Vec{other}::splat({})", text.text)
            } else if tighter {
                // The right operand of equal level is in parentheses in WGSL.
                let needs = text.level <= level;
                if needs { format!("({})", text.text) } else { text.text }
            } else {
                text.within(level)
            }
        };
        let left_text = widened(self.render(left)?, left_shape.size, right_shape.size, false);
        let right_text = widened(self.render(right)?, right_shape.size, left_shape.size, true);
        Ok(Text { text: format!("{left_text} {operator} {right_text}"), level })
    }

    /// A method of two scalars, for each component.
    fn pair(
        &self,
        left: Handle<Expression>,
        right: Handle<Expression>,
        shape: Shape,
        method: &str,
        span: Span,
    ) -> Result<Text> {
        let (left, right) = (self.render(left)?.receiver(), self.render(right)?.text);
        if shape.size == 1 {
            return Ok(Text::atom(format!("{left}.{method}({right})")));
        }
        let scalar = types::scalar_name(shape.scalar, span)?;
        Ok(Text::atom(format!("{left}.zip({right}, {scalar}::{method})")))
    }

    fn select(
        &self,
        condition: Handle<Expression>,
        accept: Handle<Expression>,
        reject: Handle<Expression>,
    ) -> Result<Text> {
        let texts =
            [self.render(condition)?.text, self.render(accept)?.text, self.render(reject)?.text].join(", ");
        let size = self.shape(condition).map_or(1, |shape| shape.size);
        if size == 1 {
            return Ok(Text::atom(format!("select({texts})")));
        }
        let parts: Vec<String> = (0..size)
            .map(|i| {
                let c = component(i);
                format!("select(c.{c}, a.{c}, r.{c})")
            })
            .collect();
        Ok(Text::atom(format!("{{ let (c, a, r) = ({texts}); Vec{size}::new({}) }}", parts.join(", "))))
    }

    fn relational(
        &self,
        function: RelationalFunction,
        argument: Handle<Expression>,
        span: Span,
    ) -> Result<Text> {
        let operator = match function {
            RelationalFunction::All => " & ",
            RelationalFunction::Any => " | ",
            other => return unsupported(span, format!("{other:?}: compilers may assume finite floats")),
        };
        let size = self.shape(argument).map_or(1, |shape| shape.size);
        let text = self.render(argument)?;
        if size == 1 {
            return Ok(text);
        }
        let parts: Vec<String> = (0..size).map(|i| format!("v.{}", component(i))).collect();
        Ok(Text::atom(format!("{{ let v = {}; {} }}", text.text, parts.join(operator))))
    }

    fn math(
        &self,
        function: MathFunction,
        first: Handle<Expression>,
        second: Option<Handle<Expression>>,
        third: Option<Handle<Expression>>,
        span: Span,
    ) -> Result<Text> {
        let Some(shape) = self.shape(first) else {
            return unsupported(span, format!("{function:?} of what is neither scalar nor vector"));
        };
        let scalar = types::scalar_name(shape.scalar, span)?;
        if let (MathFunction::Clamp, Some(low), Some(high)) = (function, second, third) {
            let (x, low, high) =
                (self.render(first)?.receiver(), self.render(low)?.text, self.render(high)?.text);
            return Ok(Text::atom(if shape.size == 1 {
                format!("{x}.max({low}).min({high})")
            } else {
                format!("{x}.zip({low}, {scalar}::max).zip({high}, {scalar}::min)")
            }));
        }
        if let Some(second) = second {
            let method = match function {
                MathFunction::Min => "min",
                MathFunction::Max => "max",
                _ => return Err(no_such_math(function, span)),
            };
            return self.pair(first, second, shape, method, span);
        }
        let is_float = scalar == "F32";
        let method = match function {
            MathFunction::Abs if scalar == "U32" => return self.render(first),
            MathFunction::Abs => "abs",
            MathFunction::Sign => "sign",
            MathFunction::Floor if is_float => "floor",
            MathFunction::Ceil if is_float => "ceil",
            MathFunction::Trunc if is_float => "trunc",
            MathFunction::Round if is_float => "round",
            MathFunction::Fract if is_float => "fract",
            MathFunction::Sqrt if is_float => "sqrt",
            MathFunction::CountOneBits if scalar == "U32" => "count_one_bits",
            MathFunction::CountLeadingZeros if scalar == "U32" => "count_leading_zeros",
            MathFunction::CountTrailingZeros if scalar == "U32" => "count_trailing_zeros",
            MathFunction::FirstLeadingBit if scalar == "U32" => "first_leading_bit",
            MathFunction::FirstTrailingBit if scalar == "U32" => "first_trailing_bit",
            MathFunction::ReverseBits if scalar == "U32" => "reverse_bits",
            _ => return Err(no_such_math(function, span)),
        };
        self.each(first, &shape, &format!("{scalar}::{method}"), method)
    }

    /// A function of one scalar, for each component.
    fn each(&self, operand: Handle<Expression>, shape: &Shape, path: &str, method: &str) -> Result<Text> {
        let text = self.render(operand)?.receiver();
        Ok(Text::atom(if shape.size == 1 {
            format!("{text}.{method}()")
        } else {
            format!("{text}.map({path})")
        }))
    }

    fn convert(
        &self,
        operand: Handle<Expression>,
        kind: ScalarKind,
        by_value: bool,
        span: Span,
    ) -> Result<Text> {
        let Some(shape) = self.shape(operand) else {
            return unsupported(span, "a conversion of what is neither scalar nor vector");
        };
        let from = shape.scalar.kind;
        if from == kind {
            return self.render(operand);
        }
        let path = match (from, kind, by_value) {
            (ScalarKind::Uint, ScalarKind::Float, true) => "F32::from_u32",
            (ScalarKind::Sint, ScalarKind::Float, true) => "F32::from_i32",
            (ScalarKind::Float, ScalarKind::Uint, true) => "U32::from_f32",
            (ScalarKind::Float, ScalarKind::Sint, true) => "I32::from_f32",
            (ScalarKind::Sint, ScalarKind::Uint, _) => "U32::from_i32",
            (ScalarKind::Uint, ScalarKind::Sint, _) => "I32::from_u32",
            (ScalarKind::Float, ScalarKind::Uint, false) => "F32::to_bits",
            (ScalarKind::Uint, ScalarKind::Float, false) => "F32::from_bits",
            (ScalarKind::Bool, ScalarKind::Float, true) => "F32::from_mask",
            (ScalarKind::Bool, ScalarKind::Uint, true) => "U32::from_mask",
            (ScalarKind::Bool, ScalarKind::Sint, true) => "I32::from_mask",
            _ => return unsupported(span, format!("the conversion from {from:?} to {kind:?}")),
        };
        let text = self.render(operand)?;
        Ok(Text::atom(if shape.size == 1 {
            format!("{path}({})", text.text)
        } else {
            format!("{}.map({path})", text.receiver())
        }))
    }
}

fn no_such_math(function: MathFunction, span: Span) -> super::Unsupported {
    let hint = match function {
        MathFunction::Dot | MathFunction::Length | MathFunction::Normalize | MathFunction::Distance => {
            "its order of operations is the driver's; write it out"
        }
        MathFunction::Sin | MathFunction::Cos | MathFunction::Exp | MathFunction::Log | MathFunction::Pow => {
            "its precision is the driver's; use a polynomial of ours"
        }
        _ => "the native version has no counterpart",
    };
    super::Unsupported { span, message: format!("the built-in function {function:?}: {hint}") }
}

/// The method of a comparison.
fn comparison(op: BinaryOperator) -> Option<&'static str> {
    match op {
        BinaryOperator::Equal => Some("eq"),
        BinaryOperator::NotEqual => Some("ne"),
        BinaryOperator::Less => Some("lt"),
        BinaryOperator::LessEqual => Some("le"),
        BinaryOperator::Greater => Some("gt"),
        BinaryOperator::GreaterEqual => Some("ge"),
        _ => None,
    }
}

fn literal_text(literal: Literal, span: Span) -> Result<String> {
    match literal {
        Literal::F32(value) => Ok(format!("F32::splat({value:?})")),
        Literal::U32(value) if value > 0xffff => Ok(format!("U32::splat({value:#x})")),
        Literal::U32(value) => Ok(format!("U32::splat({value})")),
        Literal::I32(value) => Ok(format!("I32::splat({value})")),
        Literal::Bool(value) => Ok(format!("Mask::splat({value})")),
        other => unsupported(span, format!("the literal {other:?}")),
    }
}

/// Whether a text is a name with fields, which may be written twice.
pub(super) fn is_path(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']'))
}
