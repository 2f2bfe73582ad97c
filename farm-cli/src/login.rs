//! Joining a farm as an artist or an admin, and the credentials that come of it.

use std::path::PathBuf;

use etcetera::BaseStrategy;
use farm_core::BlobDigest;
use farm_wire::{Credentials, Role, Ticket};
use serde::Serialize;

use crate::args::{FarmArgs, LoginCommand};
use crate::output::{Failure, print_json, print_text};
use crate::progress::Progress;

/// What `farm login --json` prints.
#[derive(Serialize)]
struct Report {
    name: String,
    role: Role,
    addresses: Vec<String>,
    ca_fingerprint: BlobDigest,
    credentials: String,
}

/// `farm login`.
pub(crate) async fn run(command: LoginCommand) -> Result<(), Failure> {
    let LoginCommand { ticket, name, farm, output_args } = command;
    let ticket: Ticket = ticket.trim().parse().map_err(|error| {
        Failure::wrong_use(format!("{error}"))
            .with_hint("copy the whole ticket that the master printed, from `tessera-` to its end")
    })?;
    match ticket.role {
        Role::Artist | Role::Admin => {}
        Role::Node => {
            return Err(Failure::wrong_use("this ticket is for a node, not for an artist or an admin")
                .with_hint("join a node with `farm-node join TICKET`"));
        }
    }
    let path = credentials_path(&farm)?;
    let name = name.unwrap_or_else(user_name);
    let progress = Progress::new(output_args.quiet);
    let step = progress.step("joining the farm");
    let mut credentials = Credentials::join(&ticket, &name).await.map_err(|error| {
        let failure = Failure::from(error);
        if failure.hint.is_some() {
            return failure;
        }
        failure.with_hint("ask whoever runs the farm for a new ticket")
    })?;
    step.finish();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::wrong_use(format!("cannot make the folder `{}`: {error}", folder.display()))
        })?;
    }
    credentials.save(&path)?;
    let report = Report {
        name: credentials.identity().name.clone(),
        role: credentials.identity().role,
        addresses: ticket.addresses,
        ca_fingerprint: BlobDigest(ticket.ca_fingerprint),
        credentials: path.display().to_string(),
    };
    if output_args.json {
        return print_json(&report);
    }
    progress.note(&format!(
        "joined the farm at {} as the {} {}",
        report.addresses.join(", "),
        report.role,
        report.name
    ));
    print_text(&format!("{}\n", report.credentials))
}

/// The credentials of the farm that the artist means.
pub(crate) fn open_credentials(farm: &FarmArgs) -> Result<Credentials, Failure> {
    let path = credentials_path(farm)?;
    let hint = "join a farm with `farm login TICKET`; its master prints the ticket";
    if !path.exists() {
        let shown = path.display();
        return Err(Failure::wrong_use(format!("there are no credentials at `{shown}`")).with_hint(hint));
    }
    Credentials::load(&path).map_err(|error| Failure::from(error).with_hint(hint))
}

/// Where the credentials of a farm are kept: `--credentials`, or by the farm's
/// name in the configuration folder.
fn credentials_path(farm: &FarmArgs) -> Result<PathBuf, Failure> {
    if let (Some(path), None) = (&farm.credentials, &farm.farm) {
        return Ok(path.clone());
    }
    let folder = etcetera::choose_base_strategy().map_err(|error| {
        Failure::wrong_use(format!("the home folder is not known: {error}"))
            .with_hint("name a file with `--credentials FILE`")
    })?;
    let file = match &farm.farm {
        Some(name) => format!("credentials.{name}"),
        None => "credentials".to_owned(),
    };
    Ok(folder.config_dir().join("tessera").join(file))
}

/// The artist's name where none is given.
fn user_name() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "artist".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn credentials_are_found_by_file_or_by_farm() {
        let path = |farm: Option<&str>, file: Option<&str>| {
            let farm = farm.map(str::to_owned);
            credentials_path(&FarmArgs { farm, credentials: file.map(PathBuf::from) })
                .expect("there is a home")
        };
        assert_eq!(path(None, Some("mine")), Path::new("mine"));
        assert!(path(None, None).ends_with("tessera/credentials"));
        // A farm named on the command line wins over a file from the environment.
        assert!(path(Some("studio"), Some("mine")).ends_with("tessera/credentials.studio"));
    }
}
