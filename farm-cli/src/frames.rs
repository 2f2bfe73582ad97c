//! Names of picture files, frame by frame, and writing them atomically.

use std::fs::Permissions;
use std::io;
use std::path::{Path, PathBuf};

use farm_core::FrameNumber;
use tempfile::NamedTempFile;

use crate::output::Failure;

/// Where the pictures of a job go: one path for each frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FramePattern {
    /// The folder that they lie in.
    folder: PathBuf,
    /// The file name before the frame's number.
    before: String,
    /// Digits of the frame's number at least; `None` leaves the number out.
    digits: Option<usize>,
    /// The file name after the frame's number.
    after: String,
}

impl FramePattern {
    /// Reads a path as the artist gives it with `option`: it must end in
    /// `.extension`. The last run of `#` in its file name stands for the frame's
    /// number; where there is none and `numbered` asks for it, the number goes
    /// before the extension with four digits.
    pub(crate) fn parse(path: &Path, option: &str, extension: &str, numbered: bool) -> Result<Self, Failure> {
        let shown = path.display();
        let has_extension = path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
        if !has_extension {
            let hint = match path.extension().and_then(|found| found.to_str()) {
                Some("png") if extension == "exr" => "for a PNG beside the EXR, use `--png FILE`".to_owned(),
                _ => format!("end the name in .{extension}"),
            };
            return Err(Failure::wrong_use(format!("`{option} {shown}` does not name an .{extension} file"))
                .with_hint(hint));
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| Failure::wrong_use(format!("`{option} {shown}` is not valid UTF-8")))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let numbering = match name.rfind('#') {
            Some(last) => {
                let first = name[..=last].trim_end_matches('#').len();
                Some((first, last + 1))
            }
            None if numbered => None,
            None => {
                let (before, after) = (name.to_owned(), String::new());
                return Ok(Self { folder, before, digits: None, after });
            }
        };
        let Some((first, end)) = numbering else {
            let dot = name.len() - extension.len() - 1;
            let (before, after) = (format!("{}.", &name[..dot]), name[dot..].to_owned());
            return Ok(Self { folder, before, digits: Some(4), after });
        };
        let (before, after) = (name[..first].to_owned(), name[end..].to_owned());
        Ok(Self { folder, before, digits: Some(end - first), after })
    }

    /// Names for the pictures of a job in `folder`, from the job's name, which
    /// may be another person's: whatever could lead out of the folder is replaced.
    pub(crate) fn of_job(folder: &Path, job_name: &str, extension: &str, numbered: bool) -> Self {
        let plain = |c: char| if c.is_alphanumeric() || "-_. ()+".contains(c) { c } else { '_' };
        let name: String = job_name.chars().map(plain).take(128).collect();
        // A leading dot would hide the file or, as `..`, leave the folder.
        let name = name.trim_start_matches('.').trim();
        let name = if name.is_empty() { "frame" } else { name };
        Self {
            folder: folder.to_path_buf(),
            before: if numbered { format!("{name}.") } else { name.to_owned() },
            digits: numbered.then_some(4),
            after: format!(".{extension}"),
        }
    }

    /// The folder that the pictures lie in.
    pub(crate) fn folder(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder }
    }

    /// The path of a frame's picture.
    pub(crate) fn path(&self, frame: FrameNumber) -> PathBuf {
        let Self { before, after, .. } = self;
        self.folder.join(match self.digits {
            Some(digits) => format!("{before}{:0digits$}{after}", frame.0),
            None => format!("{before}{after}"),
        })
    }

    /// Makes sure, before any work is done, that `frame` can be written.
    pub(crate) fn check_writable(&self, frame: FrameNumber) -> Result<(), Failure> {
        let path = self.path(frame);
        if path.is_dir() {
            return Err(Failure::wrong_use(format!("`{}` is a folder, not a file", path.display())));
        }
        let folder = self.folder();
        if !folder.is_dir() {
            return Err(Failure::wrong_use(format!(
                "the folder of `{}` is not there: {}",
                path.display(),
                folder.display()
            ))
            .with_hint(format!("make it with `mkdir -p {}`", folder.display())));
        }
        create_beside(&path).map(drop).map_err(|error| {
            Failure::wrong_use(format!("cannot write into the folder `{}`: {error}", folder.display()))
        })
    }
}

/// Makes a folder for pictures if it is not there, and makes sure that they can
/// be written into it.
pub(crate) fn open_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .and_then(|()| create_beside(&folder.join("frame")))
        .map(drop)
        .map_err(|error| Failure::wrong_use(format!("cannot write into `{}`: {error}", folder.display())))
}

/// A temporary file in the folder of `path`, to take its name when complete.
/// It has the permissions that the artist's other files have.
pub(crate) fn create_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".farm-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of frames 1 and 12345.
    fn names(path: &str, numbered: bool) -> [String; 2] {
        let pattern = FramePattern::parse(Path::new(path), "-o", "exr", numbered).expect("a good path");
        [1, 12345].map(|frame| pattern.path(FrameNumber(frame)).display().to_string())
    }

    #[test]
    fn one_frame_keeps_its_name() {
        assert_eq!(names("out.exr", false), ["out.exr", "out.exr"]);
        assert_eq!(names("a#b/out.EXR", false), ["a#b/out.EXR", "a#b/out.EXR"]);
    }

    #[test]
    fn several_frames_are_numbered_before_the_extension() {
        assert_eq!(names("out.exr", true), ["out.0001.exr", "out.12345.exr"]);
        assert_eq!(names("a#/v.2.exr", true), ["a#/v.2.0001.exr", "a#/v.2.12345.exr"]);
    }

    #[test]
    fn the_last_run_of_hashes_stands_for_the_number() {
        for numbered in [false, true] {
            assert_eq!(names("d/o-######.exr", numbered), ["d/o-000001.exr", "d/o-012345.exr"]);
            assert_eq!(names("#a##b.exr", numbered), ["#a01b.exr", "#a12345b.exr"]);
        }
    }

    #[test]
    fn other_extensions_are_refused_with_a_hint() {
        for (path, hint) in [("out.png", "--png"), ("out", ".exr"), ("out.jpeg", ".exr"), (".exr", ".exr")] {
            let failure = FramePattern::parse(Path::new(path), "-o", "exr", false).expect_err(path);
            assert_eq!(failure.exit.code(), 2, "{path}");
            assert!(failure.hint.is_some_and(|found| found.contains(hint)), "{path}");
        }
    }

    #[test]
    fn job_names_cannot_leave_the_folder() {
        for (name, file) in [
            ("kitchen", "kitchen.exr"),
            ("../../etc/passwd", "_.._etc_passwd.exr"),
            ("..", "frame.exr"),
            ("a\\b:c\u{1b}", "a_b_c_.exr"),
            ("", "frame.exr"),
        ] {
            let path = FramePattern::of_job(Path::new("out"), name, "exr", false).path(FrameNumber(1));
            assert_eq!(path, Path::new("out").join(file));
        }
        let numbered = FramePattern::of_job(Path::new("."), "k", "png", true);
        assert_eq!(numbered.path(FrameNumber(7)), Path::new("./k.0007.png"));
    }

    #[test]
    fn folders_for_pictures_are_made() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let inner = folder.path().join("a/b");
        assert!(open_folder(&inner).is_ok() && inner.is_dir());
        std::fs::write(folder.path().join("file"), "").expect("a file");
        assert_eq!(
            open_folder(&folder.path().join("file/c")).expect_err("a file is in the way").exit.code(),
            2
        );
    }

    #[test]
    fn missing_folders_are_found_before_rendering() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let check = |path: &str| {
            let path = folder.path().join(path);
            FramePattern::parse(&path, "-o", "exr", false).and_then(|it| it.check_writable(FrameNumber(1)))
        };
        assert!(check("out.exr").is_ok());
        assert_eq!(check("none/out.exr").expect_err("no such folder").exit.code(), 2);
        std::fs::create_dir(folder.path().join("dir.exr")).expect("a folder");
        assert_eq!(check("dir.exr").expect_err("a folder").exit.code(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "the check left files");
    }
}
