//! `farm-node`: makes this machine a node of a render farm.
//!
//! The log and errors go to stderr, data to stdout. Exit codes: 0 done,
//! 1 the node broke down, 2 wrong use or bad input, 3 no adapter, or the
//! master out of reach.

mod arguments;
mod home;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use farm_node::{
    AdapterInfo, DiskCache, Door, NodeConfig, NodeError, OpenNode, Schedule, ScheduleError, list_adapters,
};
use farm_wire::ticket::ParseTicketError;
use farm_wire::{Credentials, Role, Ticket, WireError};

use crate::arguments::{Arguments, Command, JoinOptions, RunOptions};
use crate::home::{Home, HomeError};

/// Preparing a scene makes large arrays and drops them; this allocator keeps
/// their pages for the next ones, which saves a tenth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything that can end the program early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ticket(#[from] ParseTicketError),
    #[error("this ticket is for {0}s")]
    TicketFor(Role),
    #[error("this machine already belongs to a farm, as node `{0}`")]
    AlreadyJoined(String),
    #[error("this machine does not belong to a farm yet")]
    NotJoined,
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error("the program could not start: {0}")]
    Runtime(std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Wire(WireError::Unreachable { .. } | WireError::Lost(_))
            | Self::Node(NodeError::NoAdapter | NodeError::Open { .. }) => 3,
            Self::Node(NodeError::Panicked(_)) | Self::Runtime(_) => 1,
            Self::Ticket(_)
            | Self::TicketFor(_)
            | Self::AlreadyJoined(_)
            | Self::NotJoined
            | Self::Home(_)
            | Self::Schedule(_)
            | Self::Wire(_)
            | Self::Node(_) => 2,
        })
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Ticket(_) => Some("copy the whole line that the master printed".into()),
            Self::TicketFor(_) => Some(
                "a node joins with a node ticket: `farm-master ticket create --role node` makes one".into(),
            ),
            Self::AlreadyJoined(_) => {
                Some("`farm-node run` starts it; to leave that farm for this one, pass `--force`".into())
            }
            Self::NotJoined => Some("`farm-node join TICKET` with a node ticket from the master".into()),
            Self::Wire(WireError::Unreachable { .. } | WireError::Lost(_)) => {
                Some("is the master running, and does its UDP port pass every firewall between?".into())
            }
            Self::Wire(WireError::Refused(_)) => {
                Some("ask for a new ticket: `farm-master ticket create --role node` makes one".into())
            }
            Self::Home(error) => error.hint(),
            Self::Schedule(ScheduleError::NoIdleness) => Some("give hours: `--when 19:00-07:00`".into()),
            Self::Schedule(ScheduleError::NoOccupation) => Some(
                "leave out `--yield-gpu`: `--gpu-share 50%` leaves time to others, and `--when` hours".into(),
            ),
            Self::Node(error) => error.hint(),
            Self::Wire(_) | Self::Runtime(_) => None,
        }
    }
}

fn main() -> ExitCode {
    // SAFETY: this is the only thread so far.
    unsafe { farm_node::leave_out_device_select() };
    let arguments = Arguments::parse();
    start_log();
    let outcome = match arguments.command {
        Command::Join(options) => with_runtime(join(options)),
        Command::Run(options) => with_runtime(run(options)),
        Command::Adapters => {
            print_adapters();
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure);
            failure.exit_code()
        }
    }
}

fn start_log() {
    use tracing_subscriber::EnvFilter;
    let usual = "warn,farm_node=info,farm_wire=info,farm_render=info";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

#[expect(clippy::print_stderr, reason = "a binary says why it ends")]
fn say(failure: &Failure) {
    let mut text = format!("error: {failure}");
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors already quote their cause.
        if !text.contains(&message) {
            write!(text, ": {message}").expect("writing to a string cannot fail");
        }
        cause = error.source();
    }
    eprintln!("{text}");
    if let Some(hint) = failure.hint() {
        eprintln!("hint: {hint}");
    }
}

fn with_runtime(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(task)
}

/// Exchanges a ticket for credentials, keeps them and runs.
async fn join(options: JoinOptions) -> Result<(), Failure> {
    let ticket: Ticket = options.ticket.trim().parse()?;
    if ticket.role != Role::Node {
        return Err(Failure::TicketFor(ticket.role));
    }
    let home = Home::open(options.run.data.as_deref())?;
    if home.credentials().exists() && !options.force {
        let earlier = Credentials::load(&home.credentials())?;
        return Err(Failure::AlreadyJoined(earlier.identity().name.clone()));
    }
    let (node, schedule) = open(&home, &options.run).await?;
    let name = options.name.unwrap_or_else(home::machine_name);
    let mut credentials = Credentials::join(&ticket, &name).await?;
    credentials.save(&home.credentials())?;
    tracing::info!("joined as node `{name}`; from now on `farm-node run` is enough");
    render(node, credentials, schedule).await
}

/// The part of the cache's size that is for scenes as adapters read them, which
/// are several times larger than their blobs and can be made again from these.
const PREPARED_SHARE: u64 = 2;

/// Runs with the credentials of an earlier join.
async fn run(options: RunOptions) -> Result<(), Failure> {
    let home = Home::open(options.data.as_deref())?;
    if !home.credentials().exists() {
        return Err(Failure::NotJoined);
    }
    let credentials = Credentials::load(&home.credentials())?;
    let (node, schedule) = open(&home, &options).await?;
    render(node, credentials, schedule).await
}

/// Opens the adapters that were asked for, and says when they are to work.
async fn open(home: &Home, options: &RunOptions) -> Result<(OpenNode, Schedule), Failure> {
    let schedule = Schedule::new(options.when.clone())?;
    let cache = options.cache.clone().unwrap_or_else(|| home.cache());
    let prepared_bytes = options.cache_size.0 / PREPARED_SHARE;
    let disk_cache = match DiskCache::open(&cache.join("prepared"), prepared_bytes) {
        Ok(disk_cache) => Some(Arc::new(disk_cache)),
        Err(error) => {
            tracing::warn!("prepared scenes will not be kept in {}: {error}", cache.display());
            None
        }
    };
    let config = NodeConfig {
        cache_bytes: options.cache_size.0 - prepared_bytes,
        disk_cache,
        adapter: options.choice(),
        cpu: options.cpu(),
        tags: options.tags.clone(),
        memory_bytes: options.memory.map(|memory| memory.0),
        gpu_share: options.gpu_share,
        cpu_share: options.cpu_share,
        ..NodeConfig::new(cache)
    };
    let node = OpenNode::open(config).await?;
    let schedule = if options.yield_gpu { schedule.giving_way_on(&node)? } else { schedule };
    Ok((node, schedule))
}

/// Renders for the master, when the schedule lets it, until told to leave.
async fn render(node: OpenNode, credentials: Credentials, schedule: Schedule) -> Result<(), Failure> {
    let node = node.connect(credentials);
    let times = tokio::spawn(schedule.follow(node.door()));
    let signals = tokio::spawn(leave_on_signals(node.door()));
    let outcome = node.wait().await;
    signals.abort();
    times.abort();
    outcome?;
    tracing::info!("left the farm");
    Ok(())
}

/// The first signal drains the node, the second one makes it leave at once.
async fn leave_on_signals(door: Door) {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!("signals cannot be heard, a kill will end the node unprepared: {error}");
            return std::future::pending().await;
        }
    };
    signals.next().await;
    tracing::info!("finishing what is rendering; once more to leave at once");
    door.drain();
    loop {
        signals.next().await;
        door.leave_at_once();
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// One line for each adapter, best first, on stdout.
#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn print_adapters() {
    for AdapterInfo { index, name, backend, kind, driver, .. } in list_adapters() {
        println!("{index}  {name}  {backend}, {kind}, {driver}");
    }
}
