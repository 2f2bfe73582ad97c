//! The farm's programs as processes of their own, with all that they say.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Failed;
use super::disk::SmallDisk;
use super::network::Place;

/// Lines that wait for whoever waits for a line.
const LINES_AHEAD: usize = 4096;

/// The program `name` beside this executable, or in the folder above, where the
/// executable is a test's.
fn program(name: &str) -> Result<PathBuf, Failed> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} is not built: run `cargo build --workspace --bins` first").into())
}

/// A running program.
struct Process {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn start(name: &str, mut command: Command) -> Result<Self, Failed> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let log = Arc::default();
        let stdout = child.stdout.take().ok_or("its output is not piped")?;
        let stderr = child.stderr.take().ok_or("its log is not piped")?;
        let readers = vec![
            tokio::spawn(keep_lines(stdout, Arc::clone(&log), sender.clone())),
            tokio::spawn(keep_lines(stderr, Arc::clone(&log), sender)),
        ];
        Ok(Self { name: name.to_owned(), child, lines, log, readers })
    }

    /// The next line that contains `text`.
    async fn line(&mut self, text: &str) -> Result<String, Failed> {
        while let Some(line) = self.lines.recv().await {
            if line.contains(text) {
                return Ok(line);
            }
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        Err(format!("{} ended without saying `{text}`:\n{log}", self.name).into())
    }

    /// As `kill -9` does it; all that it said.
    async fn kill(&mut self) -> Result<Vec<String>, Failed> {
        // One that stands still dies too.
        self.child.kill().await?;
        for reader in self.readers.drain(..) {
            reader.await?;
        }
        Ok(std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// As `kill` does it; waits until it has left, which must be in order, and
    /// returns all that it said.
    async fn terminate(&mut self) -> Result<Vec<String>, Failed> {
        kill_process(self.id()?, Signal::TERM)?;
        let status = self.child.wait().await?;
        for reader in self.readers.drain(..) {
            reader.await?;
        }
        let log = std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner));
        match status.success() {
            true => Ok(log),
            false => {
                Err(format!("{} did not leave in order, {status}:\n{}", self.name, log.join("\n")).into())
            }
        }
    }

    fn id(&self) -> Result<Pid, Failed> {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(id.ok_or_else(|| format!("{} is not running", self.name))?)
    }

    /// Whether it has said so.
    fn has_said(&self, text: &str) -> bool {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|line| line.contains(text))
    }

    /// Lets it stand still for a while.
    fn stop_for(&self, pause: Duration) -> Result<(), Failed> {
        let id = self.id()?;
        kill_process(id, Signal::STOP)?;
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // It may be dead by then; a child that was not waited for keeps its number.
            let _ = kill_process(id, Signal::CONT);
        });
        Ok(())
    }
}

async fn keep_lines(
    stream: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    lines: mpsc::Sender<String>,
) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        // Whoever waits for no further line still wants them kept.
        let _ = lines.try_send(line);
    }
}

/// A `farm-master serve` on a port of its own.
pub(super) struct Master {
    process: Process,
    /// Its data folder's, where that is a disk of its own.
    disk: Option<SmallDisk>,
    folder: TempDir,
    place: Place,
    port: u16,
    node_ticket: String,
    artist_ticket: String,
}

impl Master {
    /// Starts it; its data folder is a disk of `disk_bytes`, if any are said.
    pub(super) async fn start(place: Place, disk_bytes: Option<u64>) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let mount = |bytes| SmallDisk::mount(&folder.path().join("master"), bytes);
        let disk = disk_bytes.map(mount).transpose()?;
        // A restarted master must listen where it did; so the port is chosen
        // here, from those that are free.
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut process = serve(folder.path(), &place, port)?;
        let node_ticket = last_word(&process.line("farm-node join").await?);
        let artist_ticket = last_word(&process.line("farm login").await?);
        Ok(Self { process, disk, folder, place, port, node_ticket, artist_ticket })
    }

    pub(super) fn artist_ticket(&self) -> &str {
        &self.artist_ticket
    }

    pub(super) fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// The most memory that it had (`VmHWM` of proc(5)), in bytes.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id()?)).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    }

    pub(super) async fn kill_and_restart(&mut self) -> Result<(), Failed> {
        self.process.kill().await?;
        self.process = serve(self.folder.path(), &self.place, self.port)?;
        Ok(())
    }

    pub(super) fn stop_for(&self, pause: Duration) -> Result<(), Failed> {
        self.process.stop_for(pause)
    }
}

fn serve(folder: &Path, place: &Place, port: u16) -> Result<Process, Failed> {
    let mut command = place.command(&program("farm-master")?);
    command.arg("serve").arg("--data").arg(folder.join("master"));
    command.args(["--listen", &format!("{}:{port}", place.address)]);
    Process::start("master", command)
}

fn last_word(line: &str) -> String {
    line.split_whitespace().next_back().unwrap_or_default().to_owned()
}

/// A `farm-node` on one thread of the processor, in a folder of its own.
pub(super) struct Node {
    process: Process,
    /// Its cache's, where that is a disk of its own.
    disk: Option<SmallDisk>,
    folder: TempDir,
    place: Place,
    name: String,
}

impl Node {
    /// Joins the farm and returns when the node is connected. Its cache is a disk of
    /// `disk_bytes`, if any are said, and that is full.
    pub(super) async fn join(
        master: &Master,
        name: &str,
        place: Place,
        disk_bytes: Option<u64>,
    ) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let mount = |bytes| SmallDisk::mount(&folder.path().join("cache"), bytes);
        let disk = disk_bytes.map(mount).transpose()?;
        if let Some(disk) = &disk {
            disk.fill()?;
        }
        let arguments = ["join", &master.node_ticket, "--name", name];
        let mut process = node(folder.path(), &place, name, &arguments)?;
        process.line("connected as node").await?;
        Ok(Self { process, disk, folder, place, name: name.to_owned() })
    }

    /// As `kill -9` does it; all that it said.
    pub(super) async fn kill(&mut self) -> Result<Vec<String>, Failed> {
        self.process.kill().await
    }

    /// As `kill` does it: waits until the node has left, and returns all that it said.
    pub(super) async fn terminate(&mut self) -> Result<Vec<String>, Failed> {
        self.process.terminate().await
    }

    pub(super) fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    pub(super) fn has_said(&self, text: &str) -> bool {
        self.process.has_said(text)
    }

    /// Starts it again with the key that it was given.
    pub(super) fn run_again(&mut self) -> Result<(), Failed> {
        self.process = node(self.folder.path(), &self.place, &self.name, &["run"])?;
        Ok(())
    }

    pub(super) fn stop_for(&self, pause: Duration) -> Result<(), Failed> {
        self.process.stop_for(pause)
    }

    /// Pulls its cable for a while; false where it has none.
    pub(super) fn cut_off_for(&self, pause: Duration) -> Result<bool, Failed> {
        let place = self.place.clone();
        let has_cable = place.set_cable(false)?;
        if has_cable {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                // The namespace may be gone by then.
                let _ = place.set_cable(true);
            });
        }
        Ok(has_cable)
    }
}

fn node(folder: &Path, place: &Place, name: &str, arguments: &[&str]) -> Result<Process, Failed> {
    let mut command = place.command(&program("farm-node")?);
    command.args(arguments).args(["--adapter", "cpu", "--cpu", "1"]);
    command.arg("--data").arg(folder.join("key")).arg("--cache").arg(folder.join("cache"));
    // What `account` reads.
    command.env("RUST_LOG", "warn,farm_node=debug").env("NO_COLOR", "1");
    Process::start(name, command)
}
