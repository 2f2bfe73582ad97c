//! `farm-master`: runs a master and looks after its tickets and members.
//!
//! Data goes to stdout, the log and errors to stderr. Exit codes: 0 done,
//! 1 the master failed, 2 wrong use or bad input.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use farm_master::blobs::{Amount, Keep};
use farm_master::config::{ConfigFile, default_data_folder, default_listen, parse_duration};
use farm_master::folder::DataFolder;
use farm_master::tickets::{TicketEntry, Tickets};
use farm_master::{Master, MasterConfig, MasterError};
use farm_wire::{CertificateAuthority, Identity, Passphrase, Role};
use zeroize::Zeroizing;

/// The tickets of a first start are good for a week.
const FIRST_TICKETS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the passphrase of the authority's key may be.
const PASSPHRASE_VARIABLE: &str = "FARM_PASSPHRASE";

/// How long work on threads may hold up the end of the process.
const LONGEST_GOODBYE: Duration = Duration::from_secs(2);

/// The master of a render farm.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the master until it is told to stop.
    Serve {
        /// The data folder [default: in this user's data folder].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// The UDP address to listen on [default: 0.0.0.0:7400].
        #[arg(long, value_name = "ADDR:PORT")]
        listen: Option<SocketAddr>,
        /// The address that tickets name; may be repeated [default: this
        /// machine's own addresses].
        #[arg(long, value_name = "HOST:PORT")]
        advertise: Vec<String>,
        /// A file with the same options (data, listen, advertise) and bounds,
        /// in TOML.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The file whose first line is the passphrase of the authority's key, where that
        /// is encrypted [default: FARM_PASSPHRASE in the environment, or it is asked for].
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Encrypt the authority's key with a passphrase, which the master then needs when
    /// it starts, or take that off again. Back the folder up before.
    Authority {
        /// The data folder [default: in this user's data folder].
        #[arg(long, value_name = "DIR", global = true)]
        data: Option<PathBuf>,
        /// The file whose first line is the passphrase [default: FARM_PASSPHRASE in the
        /// environment, or it is asked for].
        #[arg(long, value_name = "FILE", global = true)]
        passphrase_file: Option<PathBuf>,
        #[command(subcommand)]
        command: AuthorityCommand,
    },
    /// Remove blobs that no job needs any more. A running master does so every
    /// hour by itself; this is for one that does not run.
    Gc {
        /// The data folder [default: in this user's data folder].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Only say what would be removed; works beside a running master.
        #[arg(long)]
        dry_run: bool,
        /// Keep unused blobs that were asked for within this time, like 12h or
        /// 7d [default: the bound `blob_grace_s`, 48h].
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        grace: Option<Duration>,
        /// Of the older ones keep so many bytes, those last asked for [default:
        /// the bound `unused_blob_bytes`, 64 GiB].
        #[arg(long, value_name = "BYTES")]
        keep: Option<u64>,
        /// The file with the master's data folder and bounds, in TOML.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Make, list and revoke tickets; works beside a running master.
    Ticket {
        /// The data folder [default: in this user's data folder].
        #[arg(long, value_name = "DIR", global = true)]
        data: Option<PathBuf>,
        #[command(subcommand)]
        command: TicketCommand,
    },
    /// Print the audit log, or see whether it is what was written; works beside a
    /// running master.
    Audit {
        /// The data folder [default: in this user's data folder].
        #[arg(long, value_name = "DIR", global = true)]
        data: Option<PathBuf>,
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// List, revoke and restore who joined; works beside a running master.
    #[command(alias = "member")]
    Identity {
        /// The data folder [default: in this user's data folder].
        #[arg(long, value_name = "DIR", global = true)]
        data: Option<PathBuf>,
        #[command(subcommand)]
        command: IdentityCommand,
    },
}

#[derive(Clone, Copy, Subcommand)]
enum AuthorityCommand {
    /// Encrypt the key.
    Encrypt,
    /// Take the encryption off.
    Decrypt,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Print its lines, each a JSON object: who did what when, oldest first.
    List,
    /// Say how many lines there are and the last chain value, or name the first line
    /// that is not what was written and exit with 1. To be sure of the end too, keep
    /// the last value somewhere else.
    Verify,
}

#[derive(Subcommand)]
enum IdentityCommand {
    /// Print everybody who joined: number, role, name, state.
    List,
    /// Refuse somebody by name or number. A running master closes the
    /// connections within about a second, and a node's leases go to others.
    Revoke {
        /// The name or number.
        identity: String,
    },
    /// Take somebody in again who was revoked, by name or number.
    Restore {
        /// The name or number.
        identity: String,
    },
}

#[derive(Subcommand)]
enum TicketCommand {
    /// Make a ticket and print it.
    Create {
        /// What its holder becomes.
        #[arg(long, value_enum)]
        role: RoleArgument,
        /// A name to know it by.
        #[arg(long, default_value = "ticket")]
        name: String,
        /// How long it is good, like 30m, 12h or 7d.
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_duration)]
        valid_for: Duration,
        /// How many may join with it [default: any number].
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// The address that it names; may be repeated [default: those of the
        /// running master].
        #[arg(long, value_name = "HOST:PORT")]
        advertise: Vec<String>,
    },
    /// Print every ticket: number, role, name, state.
    List,
    /// Void a ticket by name or number.
    Revoke {
        /// Its name or number.
        ticket: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArgument {
    /// Renders.
    Node,
    /// Submits jobs, and sees and changes its own.
    Artist,
    /// As an artist, with everybody's jobs, and looks after the nodes.
    Admin,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    let outcome = match arguments.command {
        Command::Serve { data, listen, advertise, config, passphrase_file } => {
            configure(data, listen, advertise, config)
                .and_then(|config| unlock(config, passphrase_file.as_deref()))
                .and_then(serve)
        }
        Command::Authority { data, passphrase_file, command } => {
            seal(&data.unwrap_or_else(default_data_folder), passphrase_file.as_deref(), command)
        }
        Command::Gc { data, dry_run, grace, keep, config } => configure(data, None, Vec::new(), config)
            .and_then(|config| {
                let bounds = Keep::from(&config.bounds);
                let keep = Keep { grace: grace.unwrap_or(bounds.grace), bytes: keep.unwrap_or(bounds.bytes) };
                collect_garbage(&config.data, keep, dry_run)
            }),
        Command::Ticket { data, command } => tickets(&data.unwrap_or_else(default_data_folder), command),
        Command::Audit { data, command } => audit(&data.unwrap_or_else(default_data_folder), &command),
        Command::Identity { data, command } => {
            identities(&data.unwrap_or_else(default_data_folder), &command)
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn start_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

#[expect(clippy::print_stderr, reason = "a binary says why it ends")]
fn fail(error: &MasterError) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(if error.is_bad_input() { 2 } else { 1 })
}

/// What was typed goes before the file, the file before the defaults.
fn configure(
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    advertise: Vec<String>,
    config: Option<PathBuf>,
) -> Result<MasterConfig, MasterError> {
    let file = config.map_or_else(|| Ok(ConfigFile::default()), |path| ConfigFile::load(&path))?;
    let data = data.or(file.data).unwrap_or_else(default_data_folder);
    let mut config = MasterConfig::new(data, listen.or(file.listen).unwrap_or_else(default_listen));
    config.advertise = if advertise.is_empty() { file.advertise.unwrap_or_default() } else { advertise };
    config.bounds = file.bounds.unwrap_or_default();
    config.limits = file.limits.unwrap_or_default();
    if let Some(days) = file.certificate_days {
        config.certificate_life = Duration::from_secs(24 * 3600 * u64::from(days.get()));
    }
    Ok(config)
}

/// Adds the passphrase, where the authority's key needs one.
fn unlock(mut config: MasterConfig, file: Option<&Path>) -> Result<MasterConfig, MasterError> {
    if CertificateAuthority::is_encrypted(&DataFolder::open(&config.data)?.authority())? {
        config.passphrase = Some(passphrase(file, false)?);
    }
    Ok(config)
}

/// The passphrase of the authority's key: from a file, the environment or whoever sits
/// at the terminal, who types a new one twice.
fn passphrase(file: Option<&Path>, is_new: bool) -> Result<Passphrase, MasterError> {
    let failed = |source| MasterError::Passphrase { source };
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|source| MasterError::Folder { path: path.to_owned(), source })?;
        return Ok(Passphrase::new(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())));
    }
    if let Ok(text) = std::env::var(PASSPHRASE_VARIABLE) {
        return Ok(Passphrase::new(Zeroizing::new(text)));
    }
    if !std::io::stdin().is_terminal() {
        return Err(failed(std::io::Error::other("nobody is at a terminal to type it")));
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(failed);
    let typed = ask("passphrase of the authority's key: ")?;
    if is_new && ask("once more: ")? != typed {
        return Err(failed(std::io::Error::other("the two were not the same")));
    }
    Ok(Passphrase::new(typed))
}

fn seal(data: &Path, file: Option<&Path>, command: AuthorityCommand) -> Result<ExitCode, MasterError> {
    let folder = DataFolder::open(data)?.authority();
    match command {
        AuthorityCommand::Encrypt => CertificateAuthority::encrypt(&folder, &passphrase(file, true)?)?,
        AuthorityCommand::Decrypt => CertificateAuthority::decrypt(&folder, &passphrase(file, false)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime, MasterError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().map_err(|source| MasterError::Runtime { source })
}

/// Prints what stays and what goes: state, blobs, bytes.
#[expect(clippy::print_stdout, reason = "what was found is data")]
fn collect_garbage(data: &Path, keep: Keep, dry_run: bool) -> Result<ExitCode, MasterError> {
    let found = runtime()?.block_on(farm_master::collect_garbage(data, keep, dry_run))?;
    let gone = if dry_run { "would be removed" } else { "removed" };
    let rows = [("needed by jobs", found.named), ("unused but kept", found.kept), (gone, found.removed)];
    for (state, Amount { blobs, bytes }) in rows {
        println!("{state}\t{blobs} blobs\t{bytes} bytes");
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(config: MasterConfig) -> Result<ExitCode, MasterError> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let data = config.data.clone();
        let mut master = Master::start(config).await?;
        tracing::info!(address = %master.local_address(), data = %data.display(), "serving");
        if master.has_no_tickets()? {
            print_first_tickets(&master)?;
        }
        let broken = tokio::select! {
            () = master.broken() => true,
            () = told_to_stop() => false,
        };
        tracing::info!("stopping");
        master.shutdown().await;
        Ok(ExitCode::from(u8::from(broken)))
    });
    // An assembly may be under way on a thread; it is done again next time.
    runtime.shutdown_timeout(LONGEST_GOODBYE);
    outcome
}

/// Prints tickets for a node, an artist and an admin. Nobody need read them: more can
/// be made, and whoever closed the pipe does not want the master to end.
fn print_first_tickets(master: &Master) -> Result<(), MasterError> {
    tracing::info!("first start: join a node and log an artist and an admin in with these, within 7 days");
    let node = master.create_ticket("first-node", Role::Node, FIRST_TICKETS, None)?;
    let artist = master.create_ticket("first-artist", Role::Artist, FIRST_TICKETS, None)?;
    let admin = master.create_ticket("first-admin", Role::Admin, FIRST_TICKETS, None)?;
    let lines = format!("farm-node join {node}\nfarm login {artist}\nfarm login --name admin {admin}\n");
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "the tickets could not be printed; `farm-master ticket create` makes others");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the log is data")]
fn audit(data: &Path, command: &AuditCommand) -> Result<ExitCode, MasterError> {
    let path = DataFolder::open(data)?.audit();
    let end = match command {
        AuditCommand::List => farm_master::audit::read(&path, |line, _| println!("{line}"))?,
        AuditCommand::Verify => farm_master::audit::verify(&path)?,
    };
    if let AuditCommand::Verify = command {
        println!("{}\t{}", end.number, end.chain);
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves on SIGINT or SIGTERM.
async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[expect(clippy::print_stdout, reason = "tickets and their list are data")]
fn tickets(data: &Path, command: TicketCommand) -> Result<ExitCode, MasterError> {
    let book = Tickets::open(&DataFolder::open(data)?.tickets())?;
    match command {
        TicketCommand::Create { role, name, valid_for, uses, advertise } => {
            let role = match role {
                RoleArgument::Node => Role::Node,
                RoleArgument::Artist => Role::Artist,
                RoleArgument::Admin => Role::Admin,
            };
            let ticket = farm_master::create_ticket(data, &advertise, &name, role, valid_for, uses)?;
            println!("{ticket}");
        }
        TicketCommand::List => book.list()?.iter().for_each(|entry| println!("{}", line(entry))),
        TicketCommand::Revoke { ticket } => println!("{}", book.revoke(&ticket)?),
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the list of identities is data")]
fn identities(data: &Path, command: &IdentityCommand) -> Result<ExitCode, MasterError> {
    let book = Tickets::open(&DataFolder::open(data)?.tickets())?;
    match command {
        IdentityCommand::List => {
            for member in book.members()? {
                let state = if member.revoked { "revoked" } else { "good" };
                let Identity { role, id, name } = member.identity;
                println!("{id:016x}\t{role}\t{name}\t{state}");
            }
        }
        IdentityCommand::Revoke { identity } => println!("{}", book.revoke_member(identity)?),
        IdentityCommand::Restore { identity } => println!("{}", book.restore_member(identity)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Number, role, name and state, apart by tabs.
fn line(entry: &TicketEntry) -> String {
    let now = std::time::SystemTime::now();
    let expires = std::time::UNIX_EPOCH + Duration::from_millis(entry.expires_at_ms);
    let state = match (entry.revoked, entry.uses_left, expires.duration_since(now)) {
        (true, _, _) => "revoked".to_owned(),
        (_, Some(0), _) => "used up".to_owned(),
        (_, _, Err(_)) => "expired".to_owned(),
        (_, uses, Ok(left)) => {
            let uses = uses.map_or("any number of uses".to_owned(), |uses| format!("{uses} uses"));
            format!("{uses}, {} min left", left.as_secs() / 60)
        }
    };
    format!("{:x}\t{}\t{}\t{state}", entry.id, entry.role, entry.name)
}

/// A number and a unit: s, m, h or d.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
