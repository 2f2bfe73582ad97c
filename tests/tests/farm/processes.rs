//! The farm's programs as processes of their own, killed when a test ends.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// What is logged unless a test wants more.
const USUAL: &str = "info";

/// Lines kept for a test that does not wait for any yet.
const LINES_AHEAD: usize = 4096;

/// The program `name` beside this test's own executable.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its executable");
    let folder = test.ancestors().nth(2).expect("tests lie in the profile's `deps` folder");
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build --workspace --bins` first",
        program.display()
    );
    program
}

/// A running program whose lines are echoed (the test harness shows them when
/// the test fails) and can be waited for.
struct Process {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Said,
}

/// All that a process said.
type Said = Arc<Mutex<String>>;

impl Process {
    fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // What is printed is for people and may hold what no log may.
        let said = Said::default();
        tokio::spawn(echo_lines(
            name.to_owned(),
            stdout.expect("it is piped"),
            sender.clone(),
            Said::default(),
        ));
        tokio::spawn(echo_lines(name.to_owned(), stderr.expect("it is piped"), sender, Arc::clone(&said)));
        Self { name: name.to_owned(), child, lines, said }
    }

    /// The next line that contains `text`.
    async fn line(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv().await;
            let line = line.unwrap_or_else(|| panic!("{} ended without saying `{text}`", self.name));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// As `kill -9` does it.
    async fn kill(&mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// As `kill` does it; the exit code.
    async fn terminate(mut self) -> Option<i32> {
        let process = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(process.expect("it was running"), Signal::TERM).expect("it is running");
        self.child.wait().await.expect("it can be waited for").code()
    }
}

/// Shows a line where the test harness shows it when the test fails.
#[expect(clippy::print_stderr, reason = "what the processes said explains a failed test")]
pub(crate) fn echo(name: &str, line: &str) {
    eprintln!("{name}: {line}");
}

async fn echo_lines(name: String, stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>, said: Said) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        echo(&name, &line);
        {
            let mut said = said.lock().expect("nobody panics while he holds this");
            said.push_str(&line);
            said.push('\n');
        }
        // A test that waits for no further line still wants them echoed.
        let _ = lines.try_send(line);
    }
}

/// A `farm-master serve` on a port of its own.
pub(crate) struct Master {
    process: Process,
    folder: TempDir,
    port: u16,
    node_ticket: String,
    artist_ticket: String,
}

impl Master {
    /// Starts a new farm.
    pub(crate) async fn start() -> Self {
        Self::start_at(USUAL).await
    }

    /// Starts a new farm that logs from this level on.
    pub(crate) async fn start_at(level: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A restarted master must listen where it did; so the port is chosen
        // here, from those that are free.
        let probe = UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
        let port = probe.local_addr().expect("it is bound").port();
        drop(probe);
        let mut process = serve(folder.path(), port, level);
        let node_ticket = ticket(&process.line("farm-node join").await);
        let artist_ticket = ticket(&process.line("farm login").await);
        Self { process, folder, port, node_ticket, artist_ticket }
    }

    /// Kills the master as `kill -9` does it and starts it again.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.process.kill().await;
        let process = serve(self.folder.path(), self.port, USUAL);
        Self { process, ..self }
    }

    pub(crate) fn artist_ticket(&self) -> &str {
        &self.artist_ticket
    }

    pub(crate) fn node_ticket(&self) -> &str {
        &self.node_ticket
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("master")
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.said.lock().expect("nobody panics while he holds this").clone()
    }
}

fn serve(folder: &Path, port: u16, level: &str) -> Process {
    let mut command = Command::new(program("farm-master"));
    command.arg("serve").arg("--data").arg(folder.join("master"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]).env("RUST_LOG", level);
    Process::start("master", command)
}

/// The ticket at the end of a printed line.
fn ticket(line: &str) -> String {
    line.split_whitespace().next_back().expect("the line is not empty").to_owned()
}

/// A `farm-node` on the best software adapter, in a folder of its own.
pub(crate) struct Node {
    process: Process,
    folder: TempDir,
    name: String,
}

impl Node {
    /// Joins the farm and returns when the node is connected.
    pub(crate) async fn join(master: &Master, name: &str) -> Self {
        Self::join_at(USUAL, master, name).await
    }

    /// As [`Node::join`], of a node that logs from this level on.
    pub(crate) async fn join_at(level: &str, master: &Master, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments = ["join", &master.node_ticket, "--name", name];
        let process = node(folder.path(), name, &arguments, level);
        Self { process, folder, name: name.to_owned() }.connected().await
    }

    /// Stops it and runs it with the key that it was given on joining.
    pub(crate) async fn restart(self) -> Self {
        let Self { process, folder, name } = self;
        assert_eq!(process.terminate().await, Some(0));
        let process = node(folder.path(), &name, &["run"], USUAL);
        Self { process, folder, name }.connected().await
    }

    async fn connected(mut self) -> Self {
        self.process.line("connected as node").await;
        self
    }

    /// The folder of its key and its cache.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.said.lock().expect("nobody panics while he holds this").clone()
    }

    /// As `kill -9` does it.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await;
    }

    /// As `kill` does it; waits until it has left.
    pub(crate) async fn terminate(self) -> Option<i32> {
        self.process.terminate().await
    }
}

fn node(folder: &Path, name: &str, arguments: &[&str], level: &str) -> Process {
    let mut command = Command::new(program("farm-node"));
    command.args(arguments).args(["--adapter", "cpu"]).env("RUST_LOG", level);
    command.arg("--data").arg(folder.join("key")).arg("--cache").arg(folder.join("cache"));
    Process::start(name, command)
}
