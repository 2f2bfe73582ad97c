//! This machine's adapters.

use farm_node::AdapterChoice;
use serde::Serialize;

use crate::args::AdaptersCommand;
use crate::output::{Failure, print_json, print_text, printable, table};
use crate::progress::human_bytes;

/// An adapter as `farm adapters --json` prints it.
#[derive(Serialize)]
struct Adapter {
    index: usize,
    name: String,
    backend: String,
    kind: String,
    driver: String,
    max_binding_bytes: u64,
}

/// `farm adapters`.
pub(crate) fn run(command: &AdaptersCommand) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Report {
        adapters: Vec<Adapter>,
    }
    let adapters: Vec<Adapter> = farm_node::list_adapters()
        .into_iter()
        .map(|info| Adapter {
            index: info.index,
            name: info.name,
            backend: info.backend,
            kind: info.kind,
            driver: info.driver,
            max_binding_bytes: info.max_binding_bytes,
        })
        .collect();
    if command.json {
        return print_json(&Report { adapters });
    }
    let heading = ["NUMBER", "NAME", "API", "KIND", "DRIVER", "LARGEST BUFFER"].map(str::to_owned).to_vec();
    let row = |adapter: &Adapter| {
        vec![
            adapter.index.to_string(),
            printable(&adapter.name),
            adapter.backend.clone(),
            adapter.kind.clone(),
            printable(&adapter.driver),
            human_bytes(adapter.max_binding_bytes),
        ]
    };
    print_text(&table(&std::iter::once(heading).chain(adapters.iter().map(row)).collect::<Vec<_>>()))
}

/// Which adapters the options name.
pub(crate) fn choose(adapter: Option<&str>) -> AdapterChoice {
    match adapter {
        None => AdapterChoice::Best,
        Some("all") => AdapterChoice::All,
        Some("cpu") => AdapterChoice::Cpu,
        Some(text) => match text.parse() {
            Ok(index) => AdapterChoice::Index(index),
            Err(_) => AdapterChoice::Name(text.to_owned()),
        },
    }
}
