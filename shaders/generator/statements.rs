//! Statements: masks for branches and loops, names for values.

use std::collections::HashSet;

use naga::{Block, Expression, Handle, LocalVariable, Span, Statement, SwitchCase, SwitchValue};

use super::analysis::{self, ends, leaves};
use super::expressions::is_path;
use super::places::Place;
use super::{Body, Exits, Result, types, unsupported};

/// Where lanes go on that a block's end leaves no work for.
enum Tail {
    /// Out of the function.
    Function,
    /// Behind a block that yields its mask.
    Value(usize),
    /// Behind a block that changes the mask around it.
    Plain(usize),
}

impl Body<'_> {
    /// Writes the whole function.
    pub(super) fn translate(mut self) -> Result<()> {
        let body = &self.function.body;
        if self.returns_early {
            self.out.line("let mut live = live;");
            if self.returned.is_none()
                && let Some(result) = &self.function.result
            {
                let span = Span::UNDEFINED;
                let zero = types::zero(self.module, result.ty, span)?;
                self.out.line(format!("let mut result = {zero};"));
            }
        }
        for (handle, variable) in self.function.local_variables.iter() {
            if self.folds.contains_key(&handle) {
                continue;
            }
            self.local(handle, variable)?;
        }
        self.statements(body, &Tail::Function)?;
        if self.returns_early && !matches!(body.last(), Some(Statement::Return { .. })) {
            let result = self.result();
            self.out.line(result);
        }
        Ok(())
    }

    /// What is returned where lanes have returned before; nothing without a result.
    fn result(&self) -> String {
        match (self.returned, &self.function.result) {
            (Some(variable), _) => self.locals[&variable].clone(),
            (None, Some(_)) => "result".to_owned(),
            (None, None) => String::new(),
        }
    }

    fn local(&mut self, handle: Handle<LocalVariable>, variable: &LocalVariable) -> Result<()> {
        let span = self.function.local_variables.get_span(handle);
        let name = self.unique(variable.name.as_deref().unwrap_or("value"));
        let value = match variable.init {
            Some(init) => self.render(init)?.text,
            None => types::zero(self.module, variable.ty, span)?,
        };
        let ty = types::name(self.module, variable.ty, span)?;
        self.out.line(format!("let mut {name}: {ty} = {value};"));
        self.locals.insert(handle, name);
        Ok(())
    }

    fn statements(&mut self, block: &Block, tail: &Tail) -> Result<()> {
        let all: Vec<(&Statement, Span)> =
            block.span_iter().map(|(statement, span)| (statement, *span)).collect();
        let mut at = 0;
        while at < all.len() {
            let end = at + all[at..].iter().take_while(|(statement, _)| self.is_pure(statement)).count();
            let next = all.get(end);
            self.values(&all[at..end], next.map(|(statement, _)| *statement))?;
            let Some((statement, span)) = next else { break };
            let before = end.checked_sub(1).map(|before| all[before].0);
            if let Some((place, value)) = self.kept_by_call(before, statement) {
                self.out.line(format!("{place} = {value};"));
            } else {
                self.statement(statement, *span, tail)?;
            }
            self.has_left |= self.kept.is_some() && self.masks_from(statement);
            let is_last = end + 1 == all.len();
            if !is_last && leaves_mask(statement) {
                self.leave_if_none(tail);
                self.has_left = true;
            }
            at = end + 1;
        }
        Ok(())
    }

    /// The place, and its new value, of `x = f(x)` where the other lanes' result of
    /// the function is `x`: no mask is needed.
    fn kept_by_call(&self, before: Option<&Statement>, statement: &Statement) -> Option<(String, String)> {
        let Some(Statement::Call { function, arguments, result: Some(result) }) = before else { return None };
        let Statement::Store { pointer, value } = statement else { return None };
        let kept = self.needs.get(function)?.kept?;
        let Expression::Load { pointer: from } = self.function.expressions[arguments[kept as usize]] else {
            return None;
        };
        let (Ok(Place::Local(from)), Ok(Place::Local(to))) = (self.place(from), self.place(*pointer)) else {
            return None;
        };
        // A value that has a name was read before something else.
        let is_fresh = !self.names.contains_key(&arguments[kept as usize]);
        let value_of_call = self.names.get(result).filter(|_| value == result && is_fresh && from == to)?;
        Some((to, value_of_call.clone()))
    }

    /// Whether a statement is the one by which the returned variable begins as an
    /// argument.
    fn masks_from(&self, statement: &Statement) -> bool {
        let Statement::Store { pointer, value } = statement else { return false };
        let variable = match self.function.expressions[*pointer] {
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        };
        let is_argument = matches!(
            self.function.expressions[*value],
            Expression::FunctionArgument(index) if Some(index) == self.kept
        );
        is_argument && variable.is_some() && variable == self.returned
    }

    /// Skips the rest of a block where no lane is left in it.
    fn leave_if_none(&mut self, tail: &Tail) {
        let leave = match tail {
            Tail::Function => format!("return {};", self.result()),
            Tail::Value(label) => format!("break 'block_{label} live;"),
            Tail::Plain(label) => format!("break 'turn_{label};"),
        };
        self.out.open("if !live.any() {");
        self.out.line(leave);
        self.out.close("}");
    }

    /// Whether a statement only names values.
    fn is_pure(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Emit(_) => true,
            Statement::Call { function, result: Some(_), .. } => {
                self.needs.get(function).is_some_and(|needs| needs.is_pure())
            }
            Statement::If { .. } => self.fold_of(statement),
            _ => false,
        }
    }

    fn fold_of(&self, statement: &Statement) -> bool {
        analysis::fold(self.function, self.needs, statement).is_some()
    }

    /// Names those values of a run of pure statements that are used more than
    /// once or later; the rest is written where `next` or another value uses it.
    fn values(&mut self, run: &[(&Statement, Span)], next: Option<&Statement>) -> Result<()> {
        let mut handles = Vec::new();
        for (statement, _) in run {
            self.collect(statement, &mut handles);
        }
        let mut consumed: HashSet<Handle<Expression>> = HashSet::new();
        for &handle in &handles {
            match self.call_of(handle, run) {
                Some(arguments) => consumed.extend(arguments),
                None => consumed.extend(analysis::operands(&self.function.expressions[handle])),
            }
        }
        for (statement, _) in run {
            self.consumed_by_folds(statement, &mut consumed);
        }
        if let Some(next) = next {
            consumed.extend(statement_operands(next));
        }
        for handle in handles {
            self.value(handle, run, &consumed)?;
        }
        Ok(())
    }

    /// The expressions that a pure statement evaluates, in order.
    fn collect(&self, statement: &Statement, handles: &mut Vec<Handle<Expression>>) {
        match statement {
            Statement::Emit(range) => handles.extend(range.clone()),
            Statement::Call { result: Some(result), .. } => handles.push(*result),
            Statement::If { accept, .. } => accept.iter().for_each(|inner| self.collect(inner, handles)),
            _ => {}
        }
    }

    /// What `&&` and `||` are made of.
    fn consumed_by_folds(&self, statement: &Statement, consumed: &mut HashSet<Handle<Expression>>) {
        let fold = analysis::fold(self.function, self.needs, statement);
        if let (Some((_, fold)), Statement::If { condition, accept, .. }) = (fold, statement) {
            consumed.extend([*condition, fold.left, fold.right]);
            accept.iter().for_each(|inner| self.consumed_by_folds(inner, consumed));
        }
    }

    /// The arguments of the pure call whose result an expression is.
    fn call_of(
        &self,
        handle: Handle<Expression>,
        run: &[(&Statement, Span)],
    ) -> Option<Vec<Handle<Expression>>> {
        if !matches!(self.function.expressions[handle], Expression::CallResult(_)) {
            return None;
        }
        run.iter().find_map(|(statement, _)| find_call(statement, handle)).map(|(_, arguments)| arguments)
    }

    fn value(
        &mut self,
        handle: Handle<Expression>,
        run: &[(&Statement, Span)],
        consumed: &HashSet<Handle<Expression>>,
    ) -> Result<()> {
        if self.is_pointer(handle) {
            return Ok(());
        }
        let uses = self.info[handle].ref_count;
        let name = self.function.named_expressions.get(&handle);
        if matches!(self.function.expressions[handle], Expression::CallResult(_)) {
            let found = run.iter().find_map(|(statement, _)| find_call(statement, handle));
            let Some((callee, arguments)) = found else { return Ok(()) };
            let text = self.call_text(callee, &arguments)?;
            let callee = self.module.functions[callee].name.clone().unwrap_or_default();
            return self.name_or_keep(
                handle,
                name.cloned(),
                &callee,
                text,
                uses == 1 && consumed.contains(&handle),
            );
        }
        if uses == 0 {
            return Ok(());
        }
        let inline = (uses == 1 && consumed.contains(&handle)) || self.is_free(handle);
        if name.is_none() && inline {
            return Ok(());
        }
        let text = self.render(handle)?.text;
        let wanted = name.cloned().unwrap_or_else(|| "value".to_owned());
        self.bind(handle, &wanted, &text);
        Ok(())
    }

    /// Binds a call's result, or keeps its text for the one place that uses it.
    fn name_or_keep(
        &mut self,
        handle: Handle<Expression>,
        name: Option<String>,
        callee: &str,
        text: String,
        inline: bool,
    ) -> Result<()> {
        match name {
            Some(name) => self.bind(handle, &name, &text),
            None if inline => {
                self.names.insert(handle, text);
            }
            None => self.bind(handle, &format!("{callee}_result"), &text),
        }
        Ok(())
    }

    fn bind(&mut self, handle: Handle<Expression>, wanted: &str, text: &str) {
        let name = self.unique(wanted);
        self.out.line(format!("let {name} = {text};"));
        self.names.insert(handle, name);
    }

    /// Whether an expression costs nothing and never changes: part of a value
    /// that has a name.
    fn is_free(&self, handle: Handle<Expression>) -> bool {
        match self.function.expressions[handle] {
            Expression::AccessIndex { base, .. } => {
                self.is_free(base) || self.names.get(&base).is_some_and(|name| is_path(name))
            }
            Expression::FunctionArgument(_)
            | Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_) => true,
            _ => false,
        }
    }

    fn call_text(&self, callee: Handle<naga::Function>, arguments: &[Handle<Expression>]) -> Result<String> {
        let needs = self.needs.get(&callee).copied().unwrap_or_default();
        let mut texts = Vec::new();
        for &argument in arguments {
            if self.is_pointer(argument) {
                let span = self.function.expressions.get_span(argument);
                return unsupported(span, "pointers as arguments: return the new value instead");
            }
            texts.push(self.render(argument)?.text);
        }
        let name = self.module.functions[callee].name.clone().unwrap_or_default();
        Ok(format!("{name}({}{})", needs.arguments(), texts.join(", ")))
    }

    fn statement(&mut self, statement: &Statement, span: Span, tail: &Tail) -> Result<()> {
        match statement {
            Statement::Block(inner) => self.block(inner, tail),
            Statement::If { condition, accept, reject } => {
                let condition = self.render(*condition)?;
                self.branch(condition.within(super::expressions::Level::And), accept, reject)
            }
            Statement::Loop { body, continuing, break_if } => self.repeat(body, continuing, *break_if),
            Statement::Switch { selector, cases } => self.switch(*selector, cases, span),
            Statement::Store { pointer, value } => {
                let value = self.render(*value)?.text;
                self.store(*pointer, &value)
            }
            Statement::Call { function, arguments, result } => {
                let text = self.call_text(*function, arguments)?;
                match result {
                    Some(result) => {
                        let callee = self.module.functions[*function].name.clone().unwrap_or_default();
                        let wanted = self.function.named_expressions.get(result).cloned();
                        self.bind(*result, &wanted.unwrap_or(format!("{callee}_result")), &text);
                    }
                    None => self.out.line(format!("{text};")),
                }
                Ok(())
            }
            Statement::Return { value } => self.leave_function(*value, tail),
            Statement::Break | Statement::Continue => {
                let mask = self.exit_mask(statement, span)?;
                self.out.line(format!("{mask} = {mask} | live;"));
                self.out.line("live = Mask::splat(false);");
                Ok(())
            }
            other => unsupported(span, format!("the statement {}", statement_name(other))),
        }
    }

    fn block(&mut self, inner: &Block, tail: &Tail) -> Result<()> {
        // A block of WGSL is no more than a scope; names are unique anyway.
        self.statements(inner, tail)
    }

    /// The mask that a `break` or `continue` fills.
    fn exit_mask(&self, exit: &Statement, span: Span) -> Result<String> {
        let mask = match exit {
            Statement::Break => self.exits.last().map(|exits| exits.broken.clone()),
            _ => self.exits.iter().rev().find_map(|exits| exits.continued.clone()),
        };
        mask.map_or_else(|| unsupported(span, "an exit outside of a loop"), Ok)
    }

    fn leave_function(&mut self, value: Option<Handle<Expression>>, tail: &Tail) -> Result<()> {
        let at_end = matches!(tail, Tail::Function);
        if self.returns_early && self.returned.is_some() {
            if at_end {
                let result = self.result();
                self.out.line(result);
            } else {
                self.out.line("live = Mask::splat(false);");
            }
            return Ok(());
        }
        let value = value.map(|value| self.render(value)).transpose()?.map(|text| text.text);
        match value {
            Some(value) if at_end && !self.returns_early => self.out.line(value),
            Some(value) if at_end => self.out.line(format!("select(live, {value}, result)")),
            Some(value) => self.out.line(format!("result = select(live, {value}, result);")),
            None => {}
        }
        if !at_end {
            self.out.line("live = Mask::splat(false);");
        }
        Ok(())
    }

    /// `if`: each side runs for its lanes, unless there are none.
    fn branch(&mut self, condition: String, accept: &Block, reject: &Block) -> Result<()> {
        let was_masked = std::mem::replace(&mut self.masked, true);
        let leaves_any = leaves(accept) || leaves(reject);
        if !leaves_any {
            if reject.is_empty() {
                self.side(&format!("live & {condition}"), accept)?;
            } else {
                let chosen = self.unique("chosen");
                self.out.line(format!("let {chosen} = {condition};"));
                self.side(&format!("live & {chosen}"), accept)?;
                self.side(&format!("live & !{chosen}"), reject)?;
            }
        } else {
            let chosen = self.unique("chosen");
            self.out.line(format!("let {chosen} = {condition};"));
            let accepted = self.surviving_side(&format!("live & {chosen}"), accept)?;
            let rejected = self.surviving_side(&format!("live & !{chosen}"), reject)?;
            let survivors: Vec<String> = [accepted, rejected].into_iter().flatten().collect();
            match survivors.is_empty() {
                true => self.out.line("live = Mask::splat(false);"),
                false => self.out.line(format!("live = {};", survivors.join(" | "))),
            }
        }
        self.masked = was_masked;
        Ok(())
    }

    /// A side that lanes leave at its end only.
    fn side(&mut self, mask: &str, block: &Block) -> Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        self.out.open(format!("if let Some(live) = some({mask}) {{"));
        let label = self.label();
        self.statements(block, &Tail::Value(label))?;
        self.out.close("}");
        Ok(())
    }

    /// A side that lanes may leave the function or a loop from; returns the text
    /// of the mask of those that did not, if there can be any.
    fn surviving_side(&mut self, mask: &str, block: &Block) -> Result<Option<String>> {
        if block.is_empty() {
            return Ok(Some(mask.to_owned()));
        }
        if !leaves(block) {
            self.side(mask, block)?;
            return Ok(Some(mask.to_owned()));
        }
        // A lone `break` or `continue` needs no branch.
        if let [exit @ (Statement::Break | Statement::Continue)] = &**block {
            let filled = self.exit_mask(exit, Span::UNDEFINED)?;
            self.out.line(format!("{filled} = {filled} | ({mask});"));
            return Ok(None);
        }
        let label = self.label();
        if ends(block) {
            self.out.open(format!("if let Some(mut live) = some({mask}) {{"));
            self.out.open(format!("'turn_{label}: {{"));
            self.statements(block, &Tail::Plain(label))?;
            self.out.close("}");
            self.out.close("}");
            return Ok(None);
        }
        let stayed = self.unique("stayed");
        self.out.open(format!("let {stayed} = match some({mask}) {{"));
        self.out.line("None => Mask::splat(false),");
        self.out.open(format!("Some(mut live) => 'block_{label}: {{"));
        self.statements(block, &Tail::Value(label))?;
        self.out.line("live");
        self.out.close("}");
        self.out.close("};");
        Ok(Some(stayed))
    }

    /// A loop runs until every lane has left it.
    fn repeat(
        &mut self,
        body: &Block,
        continuing: &Block,
        break_if: Option<Handle<Expression>>,
    ) -> Result<()> {
        let was_masked = std::mem::replace(&mut self.masked, true);
        let label = self.label();
        let broken = self.unique("broken");
        let continued = self.unique("continued");
        self.exits.push(Exits { broken: broken.clone(), continued: Some(continued.clone()) });
        // Lanes that returned inside do not go on behind the loop.
        let mut returns = false;
        analysis::visit(body, &mut |inner| returns |= matches!(inner, Statement::Return { .. }));
        self.out.open(if returns { "live = {" } else { "{" });
        self.out.line("let mut live = live;");
        self.out.line(format!("let mut {broken} = Mask::splat(false);"));
        self.out.open("while live.any() {");
        self.out.line(format!("let mut {continued} = Mask::splat(false);"));
        self.out.open(format!("'turn_{label}: {{"));
        self.statements(body, &Tail::Plain(label))?;
        self.out.close("}");
        self.out.line(format!("live = live | {continued};"));
        if !continuing.is_empty() || break_if.is_some() {
            self.out.open("if live.any() {");
            self.statements(continuing, &Tail::Plain(label))?;
            if let Some(condition) = break_if {
                let condition = self.render(condition)?.within(super::expressions::Level::And);
                self.out.line(format!("{broken} = {broken} | (live & {condition});"));
                self.out.line(format!("live = live & !{broken};"));
            }
            self.out.close("}");
        }
        self.out.close("}");
        if returns {
            self.out.line(&broken);
        }
        self.out.close(if returns { "};" } else { "}" });
        self.exits.pop();
        self.masked = was_masked;
        Ok(())
    }

    /// A `switch` as a chain of branches; `break` leaves it.
    fn switch(&mut self, selector: Handle<Expression>, cases: &[SwitchCase], span: Span) -> Result<()> {
        let was_masked = std::mem::replace(&mut self.masked, true);
        let selector = self.render(selector)?.text;
        let (chosen, broken, waiting) =
            (self.unique("chosen"), self.unique("broken"), self.unique("waiting"));
        self.out.line(format!("let {chosen} = {selector};"));
        self.out.line(format!("let mut {waiting} = live;"));
        self.out.line(format!("let mut {broken} = Mask::splat(false);"));
        self.exits.push(Exits { broken: broken.clone(), continued: None });
        let named: Vec<String> = cases.iter().filter_map(|case| value_text(case.value)).collect();
        let mut wanted: Vec<String> = Vec::new();
        for case in cases {
            wanted.push(match value_text(case.value) {
                Some(value) => format!("{chosen}.eq({value})"),
                None if named.is_empty() => "Mask::splat(true)".to_owned(),
                None => {
                    let any: Vec<String> =
                        named.iter().map(|value| format!("{chosen}.eq({value})")).collect();
                    format!("!({})", any.join(" | "))
                }
            });
            if case.fall_through {
                if !case.body.is_empty() {
                    return unsupported(span, "a case that falls through");
                }
                continue;
            }
            let mask = format!("live & ({})", wanted.join(" | "));
            wanted.clear();
            let survivors = self.surviving_side(&mask, &case.body)?;
            let stay = survivors.unwrap_or_else(|| "Mask::splat(false)".to_owned());
            self.out.line(format!("{waiting} = ({waiting} & !({mask})) | ({stay});"));
        }
        self.exits.pop();
        if cases.iter().any(|case| leaves(&case.body)) {
            self.out.line(format!("live = {waiting} | {broken};"));
        }
        self.masked = was_masked;
        Ok(())
    }
}

/// Whether a statement can take lanes out of the mask around it.
fn leaves_mask(statement: &Statement) -> bool {
    match statement {
        Statement::If { accept, reject, .. } => leaves(accept) || leaves(reject),
        Statement::Block(inner) => leaves(inner),
        Statement::Loop { body, .. } => {
            let mut returns = false;
            analysis::visit(body, &mut |inner| returns |= matches!(inner, Statement::Return { .. }));
            returns
        }
        Statement::Switch { cases, .. } => cases.iter().any(|case| leaves(&case.body)),
        _ => false,
    }
}

/// The expressions that a statement uses before anything inside it runs.
fn statement_operands(statement: &Statement) -> Vec<Handle<Expression>> {
    match statement {
        Statement::Store { pointer, value } => vec![*pointer, *value],
        Statement::Call { arguments, .. } => arguments.clone(),
        Statement::If { condition, .. } => vec![*condition],
        Statement::Switch { selector, .. } => vec![*selector],
        Statement::Return { value } => value.iter().copied().collect(),
        _ => Vec::new(),
    }
}

/// The call in a pure statement whose result is `handle`.
fn find_call(
    statement: &Statement,
    handle: Handle<Expression>,
) -> Option<(Handle<naga::Function>, Vec<Handle<Expression>>)> {
    match statement {
        Statement::Call { function, arguments, result } if *result == Some(handle) => {
            Some((*function, arguments.clone()))
        }
        Statement::If { accept, .. } => accept.iter().find_map(|inner| find_call(inner, handle)),
        _ => None,
    }
}

fn value_text(value: SwitchValue) -> Option<String> {
    match value {
        SwitchValue::I32(value) => Some(format!("I32::splat({value})")),
        SwitchValue::U32(value) => Some(format!("U32::splat({value})")),
        SwitchValue::Default => None,
    }
}

fn statement_name(statement: &Statement) -> String {
    let text = format!("{statement:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
