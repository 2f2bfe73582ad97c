//! Rust from WGSL: one function of lanes for each function of a naga module.
//!
//! The text works on lanes: `F32` is as many floats as the module around it
//! says, and every function runs for the lanes of a mask, as SPMD compilers
//! arrange it (Pharr & Mark 2012, "ispc: A SPMD Compiler for High-Performance
//! CPU Programming"): a branch narrows the mask, a loop runs until its mask is
//! empty, a store keeps the values of lanes that are off. Widths differ in the
//! meaning of `F32` and in nothing else, so they give the same bits.
//!
//! What has no counterpart here is an error that names its place.

mod analysis;
mod expressions;
mod places;
mod statements;
mod types;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{Expression, Function, Handle, LocalVariable, Module, Span};

use analysis::{Fold, Needs};

/// What is to be generated.
pub(crate) struct Options<'a> {
    /// Name of the module that is generated.
    pub(crate) name: &'a str,
    /// Path of the module with the lanes.
    pub(crate) lanes: &'a str,
    /// Path of the generated module of one lane; `None` where this is it.
    pub(crate) single: Option<&'a str>,
    /// The CPU features that the functions are compiled for.
    pub(crate) features: Option<&'a str>,
    /// Where a function or struct is declared, for its comment.
    pub(crate) source_of: &'a dyn Fn(&str) -> Option<String>,
}

/// Something that the generator has no counterpart for.
#[derive(Debug)]
pub(crate) struct Unsupported {
    /// Where it is in the text that was parsed.
    pub(crate) span: Span,
    /// What it is, and what to do.
    pub(crate) message: String,
}

type Result<T> = std::result::Result<T, Unsupported>;

/// An error at a place.
fn unsupported<T>(span: Span, message: impl Into<String>) -> Result<T> {
    Err(Unsupported { span, message: message.into() })
}

/// Generates the module that `options` describe.
pub(crate) fn generate(module: &Module, info: &ModuleInfo, options: &Options<'_>) -> Result<String> {
    let calls = analysis::calls(module);
    let mut generator = Generator { module, options, needs: HashMap::new(), calls, out: Writer::default() };
    for (handle, function) in module.functions.iter() {
        let needs = analysis::needs(module, function, &generator.needs);
        generator.needs.insert(handle, needs);
    }
    generator.head()?;
    for (handle, ty) in module.types.iter() {
        generator.structure(handle, ty)?;
    }
    for (handle, function) in module.functions.iter() {
        let name = function.name.clone().unwrap_or_default();
        let needs = generator.needs[&handle];
        // Values of all lanes are large, and copied for calls that stay calls.
        let is_inlined = !needs.live || generator.calls.get(&handle) == Some(&1);
        generator.function(&name, function, &info[handle], needs, is_inlined)?;
    }
    for (index, entry) in module.entry_points.iter().enumerate() {
        let needs = analysis::needs(module, &entry.function, &generator.needs);
        generator.function(&entry.name, &entry.function, info.get_entry_point(index), needs, false)?;
    }
    generator.kept(&module.functions);
    generator.out.close("}");
    Ok(generator.out.text)
}

/// Indented lines.
#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        let indent = if line.is_empty() { 0 } else { self.depth * 4 };
        writeln!(self.text, "{:indent$}{line}", "").expect("strings can be written to");
    }

    fn open(&mut self, line: impl AsRef<str>) {
        self.line(line);
        self.depth += 1;
    }

    fn close(&mut self, line: impl AsRef<str>) {
        self.depth -= 1;
        self.line(line);
    }
}

struct Generator<'a> {
    module: &'a Module,
    options: &'a Options<'a>,
    needs: HashMap<Handle<Function>, Needs>,
    /// How often each function is called.
    calls: HashMap<Handle<Function>, usize>,
    out: Writer,
}

/// The state of one function's translation.
struct Body<'a> {
    module: &'a Module,
    info: &'a FunctionInfo,
    function: &'a Function,
    needs: &'a HashMap<Handle<Function>, Needs>,
    out: &'a mut Writer,
    /// Names of expressions that have been evaluated.
    names: HashMap<Handle<Expression>, String>,
    arguments: Vec<String>,
    locals: HashMap<Handle<LocalVariable>, String>,
    /// Variables that stand for `&&` and `||`.
    folds: HashMap<Handle<LocalVariable>, Fold>,
    taken: HashSet<String>,
    /// Whether lanes may return before the end.
    returns_early: bool,
    /// The variable that is the result as lanes leave it, where there is one.
    returned: Option<Handle<LocalVariable>>,
    /// Whether it keeps what it has in lanes that are not live: they have returned,
    /// or never were.
    has_left: bool,
    /// The argument that it begins as and keeps from the start, where there is one.
    kept: Option<u32>,
    /// Inside a branch or loop, where stores must keep other lanes' values.
    masked: bool,
    labels: usize,
    /// The innermost loop or switch first: the masks that `break` and
    /// `continue` fill.
    exits: Vec<Exits>,
}

/// Masks of the lanes that have left a loop's turn, a loop or a switch.
struct Exits {
    broken: String,
    /// `None` in a switch.
    continued: Option<String>,
}

impl Generator<'_> {
    /// The module's opening, the bindings, and the constants.
    fn head(&mut self) -> Result<()> {
        let Options { name, lanes, single, .. } = *self.options;
        self.out.line("// Generated from WGSL by the build script of `shaders`; not to be edited.");
        self.out.line("#[allow(");
        self.out.line("    clippy::all, clippy::pedantic, missing_docs, nonstandard_style, unused, unreachable_pub, unused_qualifications,");
        self.out.line("    reason = \"generated\"");
        self.out.line(")]");
        self.out.open(format!("pub mod {name} {{"));
        self.out.line(format!("use {lanes}::*;"));
        self.out.line("crate::native::memory!();");
        self.out.line("use crate::native::vector::{Vec2, Vec3, Vec4};");
        match single {
            Some(single) => {
                self.out.line(format!("use {single} as single;"));
                self.out.line("pub use single::{Bindings, Overrides};");
            }
            None => {
                self.out.line("use self as single;");
                self.bindings()?;
            }
        }
        self.out.line("");
        self.constants()
    }

    /// The struct of everything that functions read and write.
    fn bindings(&mut self) -> Result<()> {
        self.out.line("");
        self.out.line("/// The buffers of the WGSL, as words.");
        self.out.open("pub struct Bindings<'a> {");
        for (handle, variable) in self.module.global_variables.iter() {
            let span = self.module.global_variables.get_span(handle);
            let name = variable.name.clone().unwrap_or_default();
            let ty = match variable.space {
                naga::AddressSpace::Uniform => {
                    format!("&'a [u32; {}]", types::words(self.module, variable.ty, span)?)
                }
                naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                    "&'a mut [u32]".to_owned()
                }
                naga::AddressSpace::Storage { .. } => "&'a [u32]".to_owned(),
                space => return unsupported(span, format!("`{name}` lies in {space:?} memory")),
            };
            self.out.line(format!("pub {name}: {ty},"));
        }
        self.out.line("/// The overrides that are switches.");
        self.out.line("pub overrides: Overrides,");
        self.out.close("}");
        self.overrides();
        Ok(())
    }

    /// The struct of the overrides that are switches: they are looked at as the code
    /// runs, and branches that they close are skipped by all lanes.
    fn overrides(&mut self) {
        let switches: Vec<(String, bool)> = self
            .module
            .overrides
            .iter()
            .filter_map(|(_, switch)| Some((switch.name.clone()?, types::switch(self.module, switch)?)))
            .collect();
        self.out.line("");
        self.out.line("/// Overrides that are switches; by default, as the WGSL has them.");
        self.out.line("#[derive(Clone, Copy, Debug)]");
        self.out.open("pub struct Overrides {");
        for (name, _) in &switches {
            self.out.line(format!("pub {name}: bool,"));
        }
        self.out.close("}");
        self.out.open("impl Default for Overrides {");
        self.out.open("fn default() -> Self {");
        let fields: Vec<String> = switches.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        self.out.line(format!("Self {{ {} }}", fields.join(", ")));
        self.out.close("}");
        self.out.close("}");
    }

    fn constants(&mut self) -> Result<()> {
        let constants = self.module.constants.iter().map(|(handle, constant)| {
            (self.module.constants.get_span(handle), &constant.name, Some(constant.init))
        });
        let values = self.module.overrides.iter().filter(|(_, it)| types::switch(self.module, it).is_none());
        let overrides = values.map(|(handle, constant)| {
            (self.module.overrides.get_span(handle), &constant.name, constant.init)
        });
        for (span, name, init) in constants.chain(overrides) {
            let (Some(name), Some(Expression::Literal(literal))) =
                (name, init.map(|init| &self.module.global_expressions[init]))
            else {
                continue;
            };
            let (ty, value) = match literal {
                naga::Literal::F32(value) => ("f32", format!("{value:?}")),
                naga::Literal::U32(value) => ("u32", format!("{value}")),
                naga::Literal::I32(value) => ("i32", format!("{value}")),
                naga::Literal::Bool(value) => ("bool", format!("{value}")),
                // Abstract constants are folded into what uses them.
                naga::Literal::AbstractInt(_) | naga::Literal::AbstractFloat(_) => continue,
                other => return unsupported(span, format!("constant `{name}` is {other:?}")),
            };
            self.out.line(format!("pub const {name}: {ty} = {value};"));
        }
        Ok(())
    }

    /// The arguments and the result of a function as text.
    fn signature(&self, function: &Function, span: Span) -> Result<(String, String)> {
        let mut arguments = Vec::new();
        for argument in &function.arguments {
            let name = safe_name(argument.name.as_deref().unwrap_or("argument"));
            arguments.push(format!("{name}: {}", types::name(self.module, argument.ty, span)?));
        }
        let result = match &function.result {
            Some(result) => format!(" -> {}", types::name(self.module, result.ty, span)?),
            None => String::new(),
        };
        Ok((arguments.join(", "), result))
    }

    /// Names for the functions that keep an argument in lanes that are not live, for
    /// code by hand that leans on that.
    fn kept(&mut self, functions: &naga::Arena<Function>) {
        self.out.line("");
        self.out.open("pub mod kept {");
        for (handle, function) in functions.iter() {
            if let (Some(_), Some(name)) = (self.needs[&handle].kept, &function.name) {
                self.out.line(format!("pub const {name}: () = ();"));
            }
        }
        self.out.close("}");
    }

    fn function(
        &mut self,
        name: &str,
        function: &Function,
        info: &FunctionInfo,
        needs: Needs,
        is_inlined: bool,
    ) -> Result<()> {
        let span = function.body.span_iter().next().map_or(Span::UNDEFINED, |(_, span)| *span);
        let (arguments, result) = self.signature(function, span)?;
        self.out.line("");
        if let Some(source) = (self.options.source_of)(name) {
            self.out.line(format!("/// `{source}`"));
        }
        if let Some(kept) = needs.kept {
            let argument = function.arguments[kept as usize].name.as_deref().unwrap_or("argument");
            self.out.line("///");
            self.out.line(format!("/// Lanes that are not live keep `{}`.", safe_name(argument)));
        }
        self.attributes(is_inlined);
        self.out.open(format!("pub fn {name}({}{arguments}){result} {{", needs.parameters()));
        Body::new(self.module, info, function, &self.needs, needs.kept, &mut self.out).translate()?;
        self.out.close("}");
        Ok(())
    }

    fn attributes(&mut self, inline: bool) {
        if let Some(features) = self.options.features {
            self.out.line(format!("#[target_feature(enable = \"{features}\")]"));
        }
        if inline {
            self.out.line("#[inline]");
        }
    }
}

impl<'a> Body<'a> {
    fn new(
        module: &'a Module,
        info: &'a FunctionInfo,
        function: &'a Function,
        needs: &'a HashMap<Handle<Function>, Needs>,
        kept: Option<u32>,
        out: &'a mut Writer,
    ) -> Self {
        let arguments: Vec<String> = function
            .arguments
            .iter()
            .map(|argument| safe_name(argument.name.as_deref().unwrap_or("argument")))
            .collect();
        let mut taken: HashSet<String> = arguments.iter().cloned().collect();
        taken.extend(["live", "result", "bindings"].map(str::to_owned));
        Self {
            module,
            info,
            function,
            needs,
            out,
            names: HashMap::new(),
            arguments,
            locals: HashMap::new(),
            folds: analysis::folds(function, needs),
            taken,
            returns_early: analysis::returns_early(&function.body),
            returned: analysis::returned(module, function),
            has_left: false,
            kept,
            masked: false,
            labels: 0,
            exits: Vec::new(),
        }
    }

    /// A name that nothing else in the function has.
    fn unique(&mut self, wanted: &str) -> String {
        let wanted = safe_name(wanted);
        let mut name = wanted.clone();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{wanted}_{count}");
        }
        name
    }

    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }
}

/// A WGSL name that is none of Rust's words.
fn safe_name(name: &str) -> String {
    const WORDS: &str = " abstract as async await become box break const continue crate do dyn else enum \
        extern false final fn for gen if impl in let loop macro match mod move mut override priv pub ref \
        return self static struct super trait true try type typeof unsafe unsized use virtual where while \
        yield select gather gather_row scatter ";
    if WORDS.contains(&format!(" {name} ")) { format!("{name}_") } else { name.to_owned() }
}
