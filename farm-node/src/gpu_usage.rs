//! Whether other programs use this node's graphics adapters. On Linux, from two
//! places:
//!
//! - the kernel, which counts the time for which each program had each engine of an
//!   adapter busy (its documentation, "DRM client usage stats"), where the driver
//!   tells it: those of AMD and Intel do. Without root's rights, only the programs
//!   of the same user can be seen;
//! - NVML, the library of NVIDIA's driver, which tells of everybody's programs.
//!
//! Either is believed only where it also tells of this very process, which has the
//! adapter open: in some containers it would not know who of all is this node, and
//! the node would give way to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

/// Bounds of what counts as used by others. Each default says where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GpuLimits {
    /// The part of an engine's time that others may have: a desktop and its browser
    /// stay below a tenth, a game, a viewport or another renderer does not.
    pub(crate) others_share: f64,
    /// How long others must have let the adapters be: a modeller looks at what is
    /// on the screen for half a minute and turns it again.
    pub(crate) quiet_for: Duration,
}

impl Default for GpuLimits {
    fn default() -> Self {
        Self { others_share: 0.1, quiet_for: Duration::from_secs(60) }
    }
}

/// Whether others use the adapters, as samples have it.
#[derive(Debug)]
pub(crate) struct Occupation {
    limits: GpuLimits,
    /// When they last did.
    last_used: Option<Instant>,
}

impl Occupation {
    pub(crate) fn new(limits: GpuLimits) -> Self {
        Self { limits, last_used: None }
    }

    /// Takes the part of an adapter's time that others had, of the adapter of which
    /// they had most; whether they use it now or did until lately.
    pub(crate) fn take(&mut self, now: Instant, others_share: Option<f64>) -> bool {
        if others_share.is_some_and(|share| share > self.limits.others_share) {
            self.last_used = Some(now);
        }
        self.last_used.is_some_and(|last| now.duration_since(last) < self.limits.quiet_for)
    }
}

/// Looks at adapters.
#[derive(Debug)]
pub(crate) struct GpuWatch {
    /// `/`, or what stands for it in tests.
    root: PathBuf,
    own_process: u32,
    /// Where the adapters are on the bus, as `0000:03:00.0`.
    adapters: BTreeSet<String>,
    nvml: Option<Nvml>,
    /// What NVML last told of each adapter is older than this, by its clock.
    nvml_seen: BTreeMap<String, u64>,
    last: Option<Reading>,
}

/// Nanoseconds for which clients of the kernel had engines busy.
#[derive(Debug, Default)]
struct Reading {
    at: Option<Instant>,
    busy: BTreeMap<Client, u64>,
}

/// One client and one engine of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    adapter: String,
    number: u64,
    engine: String,
}

impl GpuWatch {
    pub(crate) fn new(adapters: impl IntoIterator<Item = String>) -> Self {
        let adapters = adapters.into_iter().filter(|address| !address.is_empty()).collect();
        Self {
            root: "/".into(),
            own_process: std::process::id(),
            adapters,
            nvml: Nvml::init().ok(),
            nvml_seen: BTreeMap::new(),
            last: None,
        }
    }

    /// Who can be asked here, in words; nobody if it cannot be told. The adapters
    /// must be open.
    pub(crate) fn sources(&self) -> Vec<&'static str> {
        let own = fs::read_dir(self.root.join("proc").join(self.own_process.to_string()).join("fd"));
        let kernel = self.clients_of(own).next().is_some();
        let nvml = self.adapters.iter().any(|adapter| self.nvml_knows_us(adapter));
        let sources = [(kernel, "the kernel"), (nvml, "NVML")];
        sources.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect()
    }

    /// The part of an adapter's time since the last look that others had; of the
    /// adapter and the engine of which it is most. Reads many small files: not for
    /// an async task.
    pub(crate) fn others_share(&mut self, now: Instant) -> Option<f64> {
        let reading = Reading { at: Some(now), busy: self.others() };
        let last = self.last.replace(reading);
        let kernel = last.zip(self.last.as_ref()).and_then(|(last, now)| now.most_since(&last));
        let adapters = self.adapters.clone();
        let nvml = adapters.iter().filter_map(|adapter| self.nvml_share(adapter));
        nvml.chain(kernel).max_by(f64::total_cmp)
    }

    /// The engines' times of every other process that may be looked at.
    fn others(&self) -> BTreeMap<Client, u64> {
        let processes = fs::read_dir(self.root.join("proc")).into_iter().flatten().flatten();
        let own = self.own_process.to_string();
        let others = processes.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            name != own && name.bytes().all(|byte| byte.is_ascii_digit())
        });
        // A client whose descriptor was passed on or duplicated is in several places.
        others.flat_map(|process| self.clients_of(fs::read_dir(process.path().join("fd")))).collect()
    }

    /// The engines' times that the descriptors of a process tell of.
    fn clients_of(
        &self,
        descriptors: std::io::Result<fs::ReadDir>,
    ) -> impl Iterator<Item = (Client, u64)> + use<'_> {
        let open = descriptors.into_iter().flatten().flatten();
        let texts = open.filter_map(|descriptor| {
            let is_adapter =
                fs::read_link(descriptor.path()).is_ok_and(|device| device.starts_with("/dev/dri"));
            let info = || descriptor.path().parent()?.parent().map(|process| process.join("fdinfo"));
            let info = is_adapter.then(info)??;
            fs::read_to_string(info.join(descriptor.file_name())).ok()
        });
        texts
            .flat_map(|text| parse_client(&text))
            .filter(|(client, _)| self.adapters.contains(&client.adapter))
    }

    /// Whether NVML tells of this process on an adapter.
    fn nvml_knows_us(&self, adapter: &str) -> bool {
        let Some(device) = self.nvml.as_ref().and_then(|nvml| nvml.device_by_pci_bus_id(adapter).ok()) else {
            return false;
        };
        let processes = [device.running_compute_processes(), device.running_graphics_processes()];
        processes.into_iter().flatten().flatten().any(|process| process.pid == self.own_process)
    }

    /// The part of an adapter's time that others had by NVML.
    fn nvml_share(&mut self, adapter: &str) -> Option<f64> {
        if !self.nvml_knows_us(adapter) {
            return None;
        }
        let device = self.nvml.as_ref()?.device_by_pci_bus_id(adapter).ok()?;
        let seen = self.nvml_seen.get(adapter).copied();
        let samples = match device.process_utilization_stats(seen) {
            // Nobody did anything.
            Err(NvmlError::NotFound) => Vec::new(),
            samples => samples.ok()?,
        };
        if let Some(latest) = samples.iter().map(|sample| sample.timestamp).max() {
            self.nvml_seen.insert(adapter.to_owned(), latest);
        }
        let uses = samples.iter().map(|sample| (sample.pid, sample.sm_util));
        Some(share_of_others(uses, self.own_process))
    }
}

/// The part of an adapter's time that others had, from per cents by process: of
/// several of one process, the largest.
fn share_of_others(uses: impl Iterator<Item = (u32, u32)>, own_process: u32) -> f64 {
    let mut by_process = BTreeMap::new();
    for (process, per_cent) in uses.filter(|(process, _)| *process != own_process) {
        let most = by_process.entry(process).or_insert(0);
        *most = per_cent.max(*most);
    }
    f64::from(by_process.values().sum::<u32>()) / 100.0
}

impl Reading {
    /// The largest part of an engine's time since an earlier reading. Who was not
    /// there then counts from the next reading on.
    fn most_since(&self, earlier: &Self) -> Option<f64> {
        let elapsed = self.at?.checked_duration_since(earlier.at?)?.as_nanos();
        let mut engines: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (client, busy) in &self.busy {
            let before = earlier.busy.get(client).copied().unwrap_or(*busy);
            *engines.entry((&client.adapter, &client.engine)).or_default() += busy.saturating_sub(before);
        }
        let most = engines.into_values().max().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "some seconds in nanoseconds")]
        (elapsed > 0).then(|| most as f64 / elapsed as f64)
    }
}

/// The times of a client's engines, from the `fdinfo` of one of its descriptors.
fn parse_client(text: &str) -> Vec<(Client, u64)> {
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let adapter = fields.get("drm-pdev").copied();
    let number = fields.get("drm-client-id").and_then(|value| value.parse().ok());
    let (Some(adapter), Some(number)) = (adapter, number) else { return Vec::new() };
    let engines = fields.iter().filter_map(|(key, value)| {
        let engine = key.strip_prefix("drm-engine-").filter(|name| !name.starts_with("capacity-"))?;
        let busy: u64 = value.strip_suffix("ns")?.trim().parse().ok()?;
        // Several alike engines count their times as one's.
        let capacity = fields.get(&*format!("drm-engine-capacity-{engine}"));
        let capacity: u64 = capacity.and_then(|value| value.parse().ok()).unwrap_or(1);
        let client = Client { adapter: adapter.to_owned(), number, engine: engine.to_owned() };
        Some((client, busy / capacity.max(1)))
    });
    engines.collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const ADAPTER: &str = "0000:03:00.0";
    const OWN: u32 = 42;

    fn info(adapter: &str, client: u64, busy: u64) -> String {
        format!(
            "pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\ndrm-pdev:\t{adapter}\n\
             drm-client-id:\t{client}\ndrm-engine-gfx:\t{busy} ns\ndrm-engine-enc:\t0 ns\n\
             drm-memory-vram:\t12 KiB\n"
        )
    }

    /// A machine whose processes have adapters open.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary folder"))
        }

        fn open(&self, process: u32, descriptor: u32, device: &str, info: &str) {
            let folder = self.0.path().join("proc").join(process.to_string());
            for kind in ["fd", "fdinfo"] {
                fs::create_dir_all(folder.join(kind)).expect("it is writable");
            }
            let link = folder.join("fd").join(descriptor.to_string());
            if !link.is_symlink() {
                std::os::unix::fs::symlink(device, link).expect("it is writable");
            }
            fs::write(folder.join("fdinfo").join(descriptor.to_string()), info).expect("it is writable");
        }

        fn watch(&self) -> GpuWatch {
            GpuWatch {
                root: self.0.path().to_owned(),
                own_process: OWN,
                adapters: BTreeSet::from([ADAPTER.to_owned()]),
                nvml: None,
                nvml_seen: BTreeMap::new(),
                last: None,
            }
        }
    }

    #[test]
    fn clients_are_read_as_the_kernel_writes_them() {
        let client = |engine: &str| Client { adapter: ADAPTER.into(), number: 7, engine: engine.into() };
        assert_eq!(parse_client(&info(ADAPTER, 7, 99)), [(client("enc"), 0), (client("gfx"), 99)]);
        let several = format!(
            "drm-pdev: {ADAPTER}\ndrm-client-id: 7\ndrm-engine-video: 90 ns\n\
                               drm-engine-capacity-video: 3\n"
        );
        assert_eq!(parse_client(&several), [(client("video"), 30)]);
        for text in ["", "pos: 0", "drm-pdev: x\ndrm-client-id: many\ndrm-engine-gfx: 1 ns"] {
            assert_eq!(parse_client(text), [], "{text}");
        }
    }

    #[test]
    fn others_are_all_but_this_process_on_this_adapter() {
        let machine = Machine::new();
        let mut watch = machine.watch();
        assert_eq!(watch.sources(), [""; 0], "nobody tells of this process");
        machine.open(OWN, 9, "/dev/dri/renderD128", &info(ADAPTER, 1, 0));
        assert_eq!(watch.sources(), ["the kernel"]);
        let elsewhere = "0000:04:00.0";
        let use_it = |busy: u64| {
            machine.open(OWN, 9, "/dev/dri/renderD128", &info(ADAPTER, 1, busy * 50));
            machine.open(7, 3, "/dev/dri/card0", &info(ADAPTER, 2, busy));
            machine.open(7, 4, "/dev/dri/card0", &info(ADAPTER, 2, busy));
            machine.open(8, 3, "/dev/dri/renderD128", &info(ADAPTER, 3, busy * 2));
            machine.open(8, 4, "/dev/dri/renderD129", &info(elsewhere, 4, busy * 70));
            machine.open(8, 5, "/dev/null", &info(ADAPTER, 5, busy * 90));
        };
        use_it(0);
        let start = Instant::now();
        assert_eq!(watch.others_share(start), None, "there is nothing to compare with");
        use_it(100_000_000);
        let share = watch.others_share(start + Duration::from_secs(1)).expect("time has passed");
        assert!((share - 0.3).abs() < 1e-9, "{share}");
        machine.open(9, 3, "/dev/dri/card0", &info(ADAPTER, 6, 1 << 40));
        let share = watch.others_share(start + Duration::from_secs(2)).expect("time has passed");
        assert!(share.abs() < 1e-9, "what came before the first look does not count: {share}");
    }

    #[test]
    fn shares_of_processes_add_up_and_those_of_one_do_not() {
        let uses = [(OWN, 99), (7, 10), (7, 30), (8, 5)];
        assert!((share_of_others(uses.into_iter(), OWN) - 0.35).abs() < 1e-9);
        assert!(share_of_others([].into_iter(), OWN).abs() < 1e-9);
    }

    #[test]
    fn adapters_are_let_be_until_others_have_left_them_for_a_while() {
        let mut occupation = Occupation::new(GpuLimits::default());
        let (start, seconds) = (Instant::now(), Duration::from_secs);
        assert!(!occupation.take(start, None), "what cannot be told does not speak against it");
        assert!(!occupation.take(start, Some(0.1)));
        assert!(occupation.take(start + seconds(5), Some(0.11)));
        assert!(occupation.take(start + seconds(64), Some(0.0)));
        assert!(!occupation.take(start + seconds(65), Some(0.0)));
    }
}
