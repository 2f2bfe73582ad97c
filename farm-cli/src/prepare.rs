//! A scene file on its way to a job: scene by scene into blobs, and at the end
//! the [`JobSpec`].
//!
//! Where the frames show a file that moves, each is a scene of its own. Only one
//! of them is in memory, whatever the number of frames; what does not move is
//! the same blobs in all of them and handed out once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use farm_core::{
    BlobDigest, FilmSettings, FrameNumber, FrameScene, JobSpec, JobSpecError, Limits, Needs, RenderSettings,
};
use farm_node::needed_to_prepare;
use farm_scene::{LoadOptions, Loaded, PackedScene, Scene, SceneFile};

use crate::args::{SceneArgs, SettingsArgs};
use crate::output::Failure;
use crate::spec::{
    bad_scene, checked_name, digest_of, find_camera, load_options, name_of, set_lens, tile_size_for,
};
use crate::submit::byte_count;

/// What a job has beside its scene and settings.
#[derive(Debug)]
pub(crate) struct JobOptions {
    /// A name for people; the scene file's where there is none.
    pub(crate) name: Option<String>,
    /// Higher goes first.
    pub(crate) priority: i32,
    /// Its share beside jobs of the same priority.
    pub(crate) weight: u32,
    /// Tags that a node must have.
    pub(crate) tags: Vec<String>,
    /// The shaders that the job is pinned to.
    pub(crate) shader_digest: BlobDigest,
}

/// A job whose scenes were all handed out.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The job.
    pub(crate) spec: JobSpec,
    /// What the artist should know about the scene, one line each.
    pub(crate) warnings: Vec<String>,
    /// Time spent on reading, checking and packing the scenes.
    pub(crate) load_time: Duration,
    /// Blobs of the job.
    pub(crate) blobs: usize,
    /// Their bytes.
    pub(crate) scene_bytes: u64,
}

/// A job in the making.
#[derive(Debug)]
pub(crate) struct Preparation {
    /// The file; `None` once all of it was read.
    file: Option<SceneFile>,
    /// Whether the file has an animation, and whether anything moved so far while
    /// the shutter was open.
    is_animated: bool,
    is_blurred: bool,
    /// The frame whose scene comes next; `None` for one scene at rest.
    frame: Option<FrameNumber>,
    settings: SettingsArgs,
    options: JobOptions,
    name: String,
    /// The camera's index and name, which are those of every scene.
    camera: Option<(u32, String)>,
    scenes: FrameScenes,
    handed_out: BTreeSet<BlobDigest>,
    scene_bytes: u64,
    /// Bytes of memory that the largest scene so far takes, and of its blobs.
    largest: (u64, u64),
    warnings: Vec<String>,
    load_time: Duration,
}

impl Preparation {
    /// Opens a scene file. Blocks, as [`Preparation::next`] does: they read
    /// files, decode images and hash all of it.
    pub(crate) fn open(
        scene: &SceneArgs,
        settings: SettingsArgs,
        options: JobOptions,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let name = match &options.name {
            Some(name) => checked_name(name.clone())?,
            None => name_of(&scene.scene),
        };
        let animation = settings.animation.clone();
        let shutter = settings.shutter();
        let load_options = LoadOptions { animation, shutter, ..load_options(scene, settings.size) };
        let file = SceneFile::open(&scene.scene, &load_options).map_err(|error| bad_scene(&error))?;
        let moves = !file.animations().is_empty();
        let mut preparation = Self {
            file: Some(file),
            is_animated: moves,
            is_blurred: false,
            frame: settings.frames.filter(|_| moves).map(|frames| frames.first),
            settings,
            options,
            name,
            camera: None,
            scenes: FrameScenes::default(),
            handed_out: BTreeSet::new(),
            scene_bytes: 0,
            largest: (0, 0),
            warnings: Vec::new(),
            load_time: Duration::ZERO,
        };
        // What is wrong with the job is said before anything travels.
        preparation.draft().validate(&Limits::default()).map_err(|error| bad_job(&error))?;
        preparation.load_time = started.elapsed();
        Ok(preparation)
    }

    /// The next scene, with those of its blobs that no scene before it had;
    /// `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<PackedScene>, Failure> {
        let started = Instant::now();
        let Some(Loaded { mut scene, warnings, .. }) = self.load()? else { return Ok(None) };
        self.warnings = warnings.iter().map(ToString::to_string).collect();
        let camera = self.camera(&scene)?;
        set_lens(&mut scene, camera, self.settings.fstop, self.settings.focus_distance)?;
        self.is_blurred |= scene.motion.parts > 0;
        let memory_bytes = needed_to_prepare(&scene);
        let mut packed = farm_scene::pack(&scene);
        drop(scene);
        let bytes = packed.blobs.iter().chain([&packed.manifest]).map(byte_count).sum();
        self.largest = (self.largest.0.max(memory_bytes), self.largest.1.max(bytes));
        self.scenes.push(digest_of(&packed.manifest), packed.blobs.iter().map(digest_of).collect())?;
        packed.blobs.retain(|blob| self.handed_out.insert(digest_of(blob)));
        let is_new = self.handed_out.insert(digest_of(&packed.manifest));
        let manifest = is_new.then_some(&packed.manifest);
        self.scene_bytes += packed.blobs.iter().chain(manifest).map(byte_count).sum::<u64>();
        self.load_time += started.elapsed();
        Ok(Some(packed))
    }

    /// Reads the next scene and moves on.
    fn load(&mut self) -> Result<Option<Loaded>, Failure> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        let time = self.frame.map(|frame| f64::from(frame.0) / self.settings.fps);
        let last = self.settings.frames().last;
        let loaded = match self.frame {
            Some(frame) if frame < last => {
                let loaded = file.at(time);
                self.file = Some(file);
                self.frame = Some(FrameNumber(frame.0 + 1));
                loaded
            }
            // What earlier frames left is at hand for the last one too.
            Some(_) if !self.scenes.scenes.is_empty() => file.at(time),
            Some(_) | None => file.once(time),
        };
        loaded.map(Some).map_err(|error| bad_scene(&error))
    }

    /// The index of the camera, which must be the same in every scene: a camera
    /// that is scaled to nothing is left out of one.
    fn camera(&mut self, scene: &Scene) -> Result<u32, Failure> {
        let index = match &self.settings.camera {
            Some(wanted) => find_camera(scene, wanted)?,
            None => 0,
        };
        let name = scene.cameras.get(index as usize).map(|camera| camera.name.clone()).unwrap_or_default();
        let (first, expected) = self.camera.get_or_insert((index, name.clone()));
        if (*first, &*expected) == (index, &name) {
            return Ok(index);
        }
        let message =
            format!("camera `{expected}` is not in every frame, or not at the same place of the list");
        Err(Failure::wrong_use(message).with_hint("take a camera that no animation scales to nothing"))
    }

    /// The job without its scenes.
    fn draft(&self) -> JobSpec {
        let Self { settings, options, .. } = self;
        JobSpec {
            name: self.name.clone(),
            scene: BlobDigest([0; 32]),
            blobs: Vec::new(),
            frame_scenes: Vec::new(),
            shader_digest: options.shader_digest,
            resolution: settings.size,
            frames: settings.frames(),
            tile_size: settings.tile.unwrap_or_else(|| tile_size_for(settings.size)),
            settings: RenderSettings {
                samples_per_pixel: settings.spp,
                seed: settings.seed,
                max_depth: settings.max_depth,
                filter: settings.filter.into(),
                camera: self.camera.as_ref().map_or(0, |(index, _)| *index),
                transparent: settings.transparent,
                film: FilmSettings {
                    exposure_milli_ev: settings.exposure.milli_ev,
                    clamp_direct_milli: settings.clamp_direct.map(|clamp| clamp.milli),
                    clamp_indirect_milli: settings.clamp_indirect.map(|clamp| clamp.milli),
                },
            },
            priority: options.priority,
            weight: options.weight,
            needs: self.needs(),
        }
    }

    /// What a node must have: the tags, memory for the largest of the scenes, and
    /// what it fetches for one of them.
    fn needs(&self) -> Needs {
        let mut tags = self.options.tags.clone();
        tags.sort_unstable();
        tags.dedup();
        let (memory_bytes, download_bytes) = self.largest;
        Needs { tags, memory_bytes, download_bytes }
    }

    /// What an artist should know who asked for blur and gets none.
    fn note_on_shutter(&self) -> Option<&'static str> {
        self.settings.shutter.filter(|_| !self.is_blurred)?;
        Some(if self.is_animated {
            "nothing moves while the shutter is open, so that `--shutter` changes nothing"
        } else {
            "the scene has no animation, so that `--shutter` changes nothing"
        })
    }

    /// The job, after the last scene.
    pub(crate) fn finish(self) -> Result<Prepared, Failure> {
        let draft = self.draft();
        let note = self.note_on_shutter();
        let Self { scenes, mut warnings, load_time, scene_bytes, .. } = self;
        warnings.extend(note.map(str::to_owned));
        let (scene, blobs, frame_scenes) = scenes.finish();
        let spec = JobSpec { scene, blobs, frame_scenes, ..draft };
        spec.validate(&Limits::default()).map_err(|error| bad_job(&error))?;
        let blobs = spec.all_blobs().collect::<BTreeSet<_>>().len();
        Ok(Prepared { spec, warnings, load_time, blobs, scene_bytes })
    }
}

fn bad_job(error: &JobSpecError) -> Failure {
    Failure::wrong_use(error.to_string())
}

/// [`Preparation::open`] and the first scene, on a thread that may block.
pub(crate) async fn open_aside(
    scene: SceneArgs,
    settings: SettingsArgs,
    options: JobOptions,
) -> Result<(Preparation, Option<PackedScene>), Failure> {
    aside(move || {
        let mut preparation = Preparation::open(&scene, settings, options)?;
        let first = preparation.next()?;
        Ok((preparation, first))
    })
    .await
}

/// [`Preparation::next`] on a thread that may block.
pub(crate) async fn next_aside(
    mut preparation: Preparation,
) -> Result<(Preparation, Option<PackedScene>), Failure> {
    aside(move || {
        let next = preparation.next()?;
        Ok((preparation, next))
    })
    .await
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let working = tokio::task::spawn_blocking(work);
    working.await.map_err(|error| Failure::job_failed(format!("reading the scene failed: {error}")))?
}

/// The blobs of the scenes so far: those that all of them share, and beside
/// these each scene's own.
#[derive(Debug, Default)]
struct FrameScenes {
    shared: BTreeSet<BlobDigest>,
    scenes: Vec<FrameScene>,
}

impl FrameScenes {
    /// Adds a scene and its blobs. The farm's limit is checked here and not only
    /// when the last of many scenes has travelled.
    fn push(&mut self, scene: BlobDigest, blobs: BTreeSet<BlobDigest>) -> Result<(), Failure> {
        if self.scenes.is_empty() {
            self.shared.clone_from(&blobs);
        }
        let no_longer_shared: Vec<BlobDigest> = self.shared.difference(&blobs).copied().collect();
        let own: usize = self.scenes.iter().map(|own| own.blobs.len() + no_longer_shared.len() + 1).sum();
        let (count, limit) = (blobs.len() + own + 1, Limits::default().blobs_per_job);
        if own > 0 && u64::try_from(count).is_ok_and(|count| count > limit) {
            let frames = self.scenes.len() + 1;
            let message = format!("{frames} frames have {count} blobs; the limit of a job is {limit}");
            return Err(Failure::wrong_use(message).with_hint("submit fewer frames at a time"));
        }
        for digest in no_longer_shared {
            self.shared.remove(&digest);
            self.scenes.iter_mut().for_each(|own| own.blobs.push(digest));
        }
        let blobs = blobs.difference(&self.shared).copied().collect();
        self.scenes.push(FrameScene { scene, blobs });
        Ok(())
    }

    /// What a job says of them: the first scene, the shared blobs and, where the
    /// scenes differ, all of them.
    fn finish(self) -> (BlobDigest, Vec<BlobDigest>, Vec<FrameScene>) {
        let Self { shared, mut scenes } = self;
        let first = scenes.first().map_or(BlobDigest([0; 32]), |first| first.scene);
        if scenes.iter().all(|own| own.scene == first) {
            scenes.clear();
        }
        scenes.iter_mut().for_each(|own| own.blobs.sort_unstable());
        (first, shared.into_iter().collect(), scenes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(value: u8) -> BlobDigest {
        BlobDigest([value; 32])
    }

    fn scenes(of: &[(u8, &[u8])]) -> (BlobDigest, Vec<BlobDigest>, Vec<FrameScene>) {
        let mut scenes = FrameScenes::default();
        for (scene, blobs) in of {
            let blobs = blobs.iter().copied().map(digest).collect();
            scenes.push(digest(*scene), blobs).expect("far from the limit");
        }
        scenes.finish()
    }

    #[test]
    fn blobs_of_every_frame_are_shared_and_the_others_its_own() {
        let (first, shared, own) = scenes(&[(50, &[1, 2, 9]), (51, &[1, 2, 3]), (52, &[1, 9])]);
        assert_eq!((first, shared), (digest(50), vec![digest(1)]));
        let expected = [(50, vec![2, 9]), (51, vec![2, 3]), (52, vec![9])];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(scene, blobs)| FrameScene {
                scene: digest(scene),
                blobs: blobs.into_iter().map(digest).collect(),
            })
            .collect();
        assert_eq!(own, expected);
    }

    #[test]
    fn frames_that_are_all_alike_are_one_scene() {
        let (first, shared, own) = scenes(&[(50, &[1, 2]), (50, &[1, 2])]);
        assert_eq!((first, shared, own), (digest(50), vec![digest(1), digest(2)], vec![]));
    }

    #[test]
    fn too_many_blobs_are_refused_before_they_travel() {
        let blobs = |frame: u8| {
            let digest = |i: u16| {
                let mut bytes = [frame; 32];
                bytes[..2].copy_from_slice(&i.to_le_bytes());
                BlobDigest(bytes)
            };
            (0..30_000).map(digest).collect()
        };
        let mut scenes = FrameScenes::default();
        scenes.push(digest(1), blobs(1)).expect("30,000 are few");
        scenes.push(digest(2), blobs(2)).expect("60,000 are not too many");
        let failure = scenes.push(digest(3), blobs(3)).expect_err("90,000 are");
        assert_eq!(failure.exit.code(), 2);
        assert!(failure.hint.is_some());
    }
}
