//! Delivered frames to files on the artist's disk.

use std::collections::BTreeMap;
use std::path::Path;

use farm_core::scheduler::JobView;
use farm_core::{BlobDigest, FrameNumber, FrameRange, JobId};
use farm_wire::Client;
use farm_wire::message::{FrameFile, Precision};
use serde::Serialize;

use crate::args::{FetchCommand, FileArgs};
use crate::frames::{FramePattern, open_folder};
use crate::jobs::find_job;
use crate::login::open_credentials;
use crate::output::{Failure, print_json, print_text};
use crate::progress::Progress;
use crate::requests::{Link, RequestError, fetch_frame};

/// A frame whose files are on the artist's disk.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FetchedFrame {
    /// The frame.
    pub(crate) frame: FrameNumber,
    /// The EXR's path.
    pub(crate) output: String,
    /// The PNG's path, where one was asked for.
    pub(crate) png: Option<String>,
    /// BLAKE3 of the final f32 pixels.
    pub(crate) pixel_digest: BlobDigest,
    /// Bytes of all its files.
    pub(crate) bytes: u64,
}

impl FetchedFrame {
    /// The paths, one on each line.
    pub(crate) fn lines(&self) -> String {
        let paths = [Some(&self.output), self.png.as_ref()];
        paths.into_iter().flatten().map(|path| format!("{path}\n")).collect()
    }
}

/// Fetches the frames of a job as they are delivered, each once.
#[derive(Debug)]
pub(crate) struct Collector {
    job: JobId,
    exr: FramePattern,
    png: Option<FramePattern>,
    precision: Precision,
    fetched: BTreeMap<FrameNumber, FetchedFrame>,
}

impl Collector {
    /// A collector that names files by these patterns.
    pub(crate) fn new(job: JobId, exr: FramePattern, png: Option<FramePattern>, half: bool) -> Self {
        let precision = if half { Precision::Half } else { Precision::Float };
        Self { job, exr, png, precision, fetched: BTreeMap::new() }
    }

    /// A collector that names files in `folder` by the job's name.
    pub(crate) fn of_job(job: JobId, folder: &Path, name: &str, numbered: bool, files: FileArgs) -> Self {
        let pattern = |extension| FramePattern::of_job(folder, name, extension, numbered);
        Self::new(job, pattern("exr"), (!files.no_png).then(|| pattern("png")), files.half)
    }

    /// Fetches what `view` says is delivered and was not fetched yet.
    pub(crate) async fn collect(&mut self, client: &Client, view: &JobView) -> Result<(), RequestError> {
        self.collect_frames(client, view, |_| true).await
    }

    /// Fetches the delivered frames that `wanted` names.
    async fn collect_frames(
        &mut self,
        client: &Client,
        view: &JobView,
        wanted: impl Fn(FrameNumber) -> bool,
    ) -> Result<(), RequestError> {
        for &(frame, pixel_digest) in &view.delivered {
            if wanted(frame) && !self.fetched.contains_key(&frame) {
                let fetched = self.fetch(client, frame, pixel_digest).await?;
                self.fetched.insert(frame, fetched);
            }
        }
        Ok(())
    }

    /// Fetches the files of one frame.
    async fn fetch(
        &self,
        client: &Client,
        frame: FrameNumber,
        pixel_digest: BlobDigest,
    ) -> Result<FetchedFrame, RequestError> {
        let source = (self.job, frame);
        let exr = self.exr.path(frame);
        let mut bytes = fetch_frame(client, source, (FrameFile::Exr, self.precision), &exr).await?;
        let png = self.png.as_ref().map(|pattern| pattern.path(frame));
        if let Some(png) = &png {
            bytes += fetch_frame(client, source, (FrameFile::Png, self.precision), png).await?;
        }
        let png = png.map(|path| path.display().to_string());
        Ok(FetchedFrame { frame, output: exr.display().to_string(), png, pixel_digest, bytes })
    }

    /// What was fetched, in frame order.
    pub(crate) fn into_frames(self) -> Vec<FetchedFrame> {
        self.fetched.into_values().collect()
    }
}

/// What `farm fetch --json` prints.
#[derive(Serialize)]
struct Report {
    job: JobId,
    frames: Vec<FetchedFrame>,
}

/// `farm fetch`.
pub(crate) async fn run(command: FetchCommand) -> Result<(), Failure> {
    let FetchCommand { job, out, frames, files, farm, output_args } = command;
    open_folder(&out)?;
    let progress = Progress::new(output_args.quiet);
    let link = Link::connect(open_credentials(&farm)?).await?;
    let view = find_job(&link, job).await?;
    check_delivered(&view, frames)?;
    let mut collector = Collector::of_job(job, &out, &view.name, view.frames > 1, files);
    let step = progress.step("fetching frames");
    let wanted = |frame| frames.is_none_or(|range| (range.first..=range.last).contains(&frame));
    collector.collect_frames(link.client(), &view, wanted).await?;
    step.finish();
    link.close().await;
    let frames = collector.into_frames();
    if output_args.json {
        return print_json(&Report { job, frames });
    }
    print_text(&frames.iter().map(FetchedFrame::lines).collect::<String>())
}

/// Refuses to fetch what is not there yet.
fn check_delivered(view: &JobView, frames: Option<FrameRange>) -> Result<(), Failure> {
    let job = view.job;
    let hint = format!("`farm watch {job}` follows it; {}", view.explanation);
    if view.delivered.is_empty() {
        return Err(Failure::wrong_use(format!("job {job} has no finished frame")).with_hint(hint));
    }
    let delivered = |frame: &FrameNumber| view.delivered.iter().any(|(other, _)| other == frame);
    match frames.and_then(|range| range.iter().find(|frame| !delivered(frame))) {
        Some(missing) => {
            let message = format!("frame {} of job {job} is not finished", missing.0);
            Err(Failure::wrong_use(message).with_hint(hint))
        }
        None => Ok(()),
    }
}
