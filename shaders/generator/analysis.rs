//! What has to be known of a function before it is translated.

use std::collections::HashMap;

use super::types;
use naga::{Block, Expression, Function, Handle, Literal, LocalVariable, Module, Statement, UnaryOperator};

/// What a function takes besides its arguments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// The mask of its lanes.
    pub(super) live: bool,
    /// The buffers.
    pub(super) bindings: bool,
    /// The argument that the result is for lanes that are not live.
    pub(super) kept: Option<u32>,
}

impl Needs {
    pub(super) fn parameters(self) -> &'static str {
        match (self.live, self.bindings) {
            (false, false) => "",
            (true, false) => "live: Mask, ",
            (false, true) => "bindings: &mut Bindings<'_>, ",
            (true, true) => "live: Mask, bindings: &mut Bindings<'_>, ",
        }
    }

    pub(super) fn arguments(self) -> &'static str {
        match (self.live, self.bindings) {
            (false, false) => "",
            (true, false) => "live, ",
            (false, true) => "bindings, ",
            (true, true) => "live, bindings, ",
        }
    }

    /// Whether a call reads and writes nothing but its arguments.
    pub(super) fn is_pure(self) -> bool {
        !self.live && !self.bindings
    }
}

/// A variable that naga makes for `left && right` or `left || right`. Both sides
/// are evaluated: neither can fail, and lanes that are off read nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    pub(super) is_and: bool,
    pub(super) left: Handle<Expression>,
    pub(super) right: Handle<Expression>,
}

/// What `function` needs, knowing what the functions before it do.
pub(super) fn needs(module: &Module, function: &Function, known: &HashMap<Handle<Function>, Needs>) -> Needs {
    let mut needs = Needs { live: branches(function, known, &function.body), ..Needs::default() };
    for (_, expression) in function.expressions.iter() {
        match *expression {
            Expression::GlobalVariable(variable) => {
                needs.bindings = true;
                needs.live |= module.global_variables[variable].space != naga::AddressSpace::Uniform;
            }
            Expression::Override(name) => {
                needs.bindings |= types::switch(module, &module.overrides[name]).is_some();
            }
            // Elements of arrays are set for live lanes only.
            Expression::Access { .. } => needs.live = true,
            _ => {}
        }
    }
    visit(&function.body, &mut |statement| {
        if let Statement::Call { function, .. } = statement
            && let Some(callee) = known.get(function)
        {
            needs.live |= callee.live;
            needs.bindings |= callee.bindings;
        }
    });
    if needs.live {
        needs.kept = kept(module, function);
    }
    needs
}

/// How often each function is called.
pub(super) fn calls(module: &Module) -> HashMap<Handle<Function>, usize> {
    let mut calls = HashMap::new();
    let functions = module.functions.iter().map(|(_, function)| function);
    for function in functions.chain(module.entry_points.iter().map(|entry| &entry.function)) {
        visit(&function.body, &mut |statement| {
            if let Statement::Call { function, .. } = statement {
                *calls.entry(*function).or_default() += 1;
            }
        });
    }
    calls
}

/// Whether a block has branches or loops that are not folded.
fn branches(function: &Function, known: &HashMap<Handle<Function>, Needs>, block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::If { .. } => fold(function, known, statement).is_none(),
        Statement::Loop { .. } | Statement::Switch { .. } => true,
        Statement::Block(inner) => branches(function, known, inner),
        _ => false,
    })
}

/// Calls `found` for every statement of a block and of the blocks inside.
pub(super) fn visit(block: &Block, found: &mut dyn FnMut(&Statement)) {
    visit_blocks(block, &mut |block| block.iter().for_each(&mut *found));
}

/// Calls `found` for a block and the blocks inside.
fn visit_blocks(block: &Block, found: &mut dyn FnMut(&Block)) {
    found(block);
    for statement in block {
        match statement {
            Statement::Block(inner) => visit_blocks(inner, found),
            Statement::If { accept, reject, .. } => {
                visit_blocks(accept, found);
                visit_blocks(reject, found);
            }
            Statement::Loop { body, continuing, .. } => {
                visit_blocks(body, found);
                visit_blocks(continuing, found);
            }
            Statement::Switch { cases, .. } => {
                cases.iter().for_each(|case| visit_blocks(&case.body, found));
            }
            _ => {}
        }
    }
}

/// Every folded variable of a function.
pub(super) fn folds(
    function: &Function,
    known: &HashMap<Handle<Function>, Needs>,
) -> HashMap<Handle<LocalVariable>, Fold> {
    let mut folds = HashMap::new();
    visit(&function.body, &mut |statement| folds.extend(fold(function, known, statement)));
    folds
}

/// The variable that a statement gives the value of `&&` or `||`, if it does
/// that.
pub(super) fn fold(
    function: &Function,
    known: &HashMap<Handle<Function>, Needs>,
    statement: &Statement,
) -> Option<(Handle<LocalVariable>, Fold)> {
    let Statement::If { condition, accept, reject } = statement else { return None };
    let [Statement::Store { pointer, value }] = &**reject else { return None };
    let (variable, otherwise) = match (&function.expressions[*pointer], &function.expressions[*value]) {
        (Expression::LocalVariable(variable), Expression::Literal(Literal::Bool(value))) => {
            (*variable, *value)
        }
        _ => return None,
    };
    if function.local_variables[variable].name.is_some() {
        return None;
    }
    let (last, before) = accept.split_last()?;
    let Statement::Store { pointer: target, value: right } = last else { return None };
    if function.expressions[*target] != Expression::LocalVariable(variable) {
        return None;
    }
    let is_pure = |statement: &Statement| match statement {
        Statement::Emit(_) => true,
        Statement::Call { function, .. } => known.get(function).is_some_and(|needs| needs.is_pure()),
        other => fold(function, known, other).is_some(),
    };
    if !before.iter().all(is_pure) {
        return None;
    }
    let left = match function.expressions[*condition] {
        Expression::Unary { op: UnaryOperator::LogicalNot, expr } if otherwise => expr,
        _ if !otherwise => *condition,
        _ => return None,
    };
    Some((variable, Fold { is_and: !otherwise, left, right: *right }))
}

/// Whether lanes can return before the end of a function.
pub(super) fn returns_early(body: &Block) -> bool {
    let mut count = 0;
    visit(body, &mut |statement| count += u32::from(matches!(statement, Statement::Return { .. })));
    let last = matches!(body.last(), Some(Statement::Return { .. }));
    count > u32::from(last)
}

/// The variable that every `return` of a function returns, if it is a struct: lanes
/// that have left it keep it as it was then, and so it is the result.
pub(super) fn returned(module: &Module, function: &Function) -> Option<Handle<LocalVariable>> {
    let mut found = Vec::new();
    visit_blocks(&function.body, &mut |block| {
        for (at, statement) in block.iter().enumerate() {
            let Statement::Return { value } = statement else { continue };
            // The value must be that of the moment, and not an older one.
            let before = at.checked_sub(1).map(|before| &block[before]);
            found.push(value.filter(|value| {
                matches!(before, Some(Statement::Emit(range)) if range.clone().any(|handle| handle == *value))
            }));
        }
    });
    let variable_of = |value: Option<Handle<Expression>>| match function.expressions[value?] {
        Expression::Load { pointer } => match function.expressions[pointer] {
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        },
        _ => None,
    };
    let variable = variable_of(*found.first()?)?;
    let is_struct =
        matches!(module.types[function.local_variables[variable].ty].inner, naga::TypeInner::Struct { .. });
    (is_struct && found.into_iter().all(|value| variable_of(value) == Some(variable))).then_some(variable)
}

/// The argument that the variable which a function returns begins as.
fn kept(module: &Module, function: &Function) -> Option<u32> {
    let variable = returned(module, function)?;
    let of_variable = |pointer| function.expressions[pointer] == Expression::LocalVariable(variable);
    let first = function.body.iter().find(|statement| !matches!(statement, Statement::Emit(_)))?;
    match *first {
        Statement::Store { pointer, value } if of_variable(pointer) => match function.expressions[value] {
            Expression::FunctionArgument(index) => Some(index),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a block can take lanes out of the mask around it.
pub(super) fn leaves(block: &Block) -> bool {
    leaves_by(block, true, true)
}

/// The same, where a `break` or `continue` may belong to a loop inside.
fn leaves_by(block: &Block, by_break: bool, by_continue: bool) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Return { .. } => true,
        Statement::Break => by_break,
        Statement::Continue => by_continue,
        Statement::Block(inner) => leaves_by(inner, by_break, by_continue),
        Statement::If { accept, reject, .. } => {
            leaves_by(accept, by_break, by_continue) || leaves_by(reject, by_break, by_continue)
        }
        Statement::Loop { body, continuing, .. } => {
            leaves_by(body, false, false) || leaves_by(continuing, false, false)
        }
        Statement::Switch { cases, .. } => cases.iter().any(|case| leaves_by(&case.body, false, by_continue)),
        _ => false,
    })
}

/// Whether no lane reaches the end of a block.
pub(super) fn ends(block: &Block) -> bool {
    match block.last() {
        Some(Statement::Return { .. } | Statement::Break | Statement::Continue) => true,
        Some(Statement::Block(inner)) => ends(inner),
        _ => false,
    }
}

/// The expressions that one is made of.
pub(super) fn operands(expression: &Expression) -> Vec<Handle<Expression>> {
    match expression {
        Expression::Compose { components, .. } => components.clone(),
        Expression::Access { base, index } => vec![*base, *index],
        Expression::AccessIndex { base, .. } => vec![*base],
        Expression::Splat { value, .. } => vec![*value],
        Expression::Swizzle { vector, .. } => vec![*vector],
        Expression::Load { pointer } => vec![*pointer],
        Expression::Unary { expr, .. } | Expression::As { expr, .. } => vec![*expr],
        Expression::Binary { left, right, .. } => vec![*left, *right],
        Expression::Select { condition, accept, reject } => vec![*condition, *accept, *reject],
        Expression::Relational { argument, .. } => vec![*argument],
        Expression::Math { arg, arg1, arg2, arg3, .. } => {
            [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().collect()
        }
        Expression::ArrayLength(pointer) => vec![*pointer],
        _ => Vec::new(),
    }
}
