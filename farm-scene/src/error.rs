//! What can be wrong with a scene, said so that a person can mend it.
//!
//! A [`Fault`] is a place and a [`Problem`]; [`LoadError`] adds the file,
//! [`UnpackError`] the blob.

use std::io;
use std::path::PathBuf;

/// Something wrong at one place of a scene.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Fault {
    /// The place, as `meshes[3].primitives[0].attributes.POSITION` or `accessor 7`.
    pub place: String,
    /// What is wrong there.
    pub problem: Problem,
}

impl Fault {
    /// A problem at a place.
    pub(crate) fn new(place: impl Into<String>, problem: Problem) -> Self {
        Self { place: place.into(), problem }
    }
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An index that names nothing.
    #[error("names {what} {index}, but there are only {count}")]
    IndexOutOfRange {
        /// What is named.
        what: &'static str,
        /// The index.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// Bytes beyond the end of what holds them.
    #[error("reaches byte {needs} of {what}, which has only {has} bytes")]
    BeyondEnd {
        /// What holds the bytes.
        what: String,
        /// One past the last byte that is needed.
        needs: u64,
        /// Bytes there.
        has: u64,
    },
    /// A number that is not finite.
    #[error("element {element} is {value}; every number must be finite")]
    NotFinite {
        /// Place in the array.
        element: u64,
        /// The number.
        value: f32,
    },
    /// More than a limit allows.
    #[error("{value} {what}; the limit is {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        value: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A number outside its domain.
    #[error("{what} is {value}; expected {expected}")]
    OutOfDomain {
        /// The quantity.
        what: &'static str,
        /// The number.
        value: f64,
        /// The domain.
        expected: &'static str,
    },
    /// Two counts that must agree.
    #[error("{found} {what} for {expected} vertices")]
    CountMismatch {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there must be.
        expected: u64,
    },
    /// An accessor of a type that does not fit its use.
    #[error("has type {found}; expected {expected}")]
    WrongType {
        /// The type.
        found: String,
        /// The types that fit.
        expected: &'static str,
    },
    /// An image without texels.
    #[error("the image is {width}×{height}; it needs at least one texel")]
    EmptyImage {
        /// Width in texels.
        width: u32,
        /// Height in texels.
        height: u32,
    },
    /// An image that cannot be decoded.
    #[error("the image cannot be decoded: {0}")]
    Undecodable(String),
    /// A node that is its own ancestor, or that has two parents.
    #[error("node {node} is reached twice; the nodes must form trees")]
    NotATree {
        /// The node.
        node: u64,
    },
    /// Something that must be there and is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// Anything else that the format forbids.
    #[error("{0}")]
    Malformed(String),
}

/// Why a scene cannot be loaded. `Display` names the file, the place, the value
/// and the limit; [`LoadError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file.
    #[error("there is no scene file `{scene}`")]
    NotFound {
        /// The scene's file name.
        scene: String,
    },
    /// The path names a directory.
    #[error("scene `{scene}` is a directory")]
    IsDirectory {
        /// The scene's file name.
        scene: String,
    },
    /// The file cannot be read.
    #[error("scene `{scene}` cannot be read")]
    Read {
        /// The scene's file name.
        scene: String,
        /// Why.
        source: io::Error,
    },
    /// The file is empty.
    #[error("scene `{scene}` is empty")]
    Empty {
        /// The scene's file name.
        scene: String,
    },
    /// The file is larger than the limit.
    #[error("scene `{scene}` has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// The scene's file name.
        scene: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is neither binary glTF nor JSON.
    #[error("scene `{scene}` is not glTF: it begins with {found}, not with `glTF` or a JSON object")]
    WrongMagic {
        /// The scene's file name.
        scene: String,
        /// The first bytes.
        found: String,
    },
    /// The binary file ends too early.
    #[error("scene `{scene}` is cut off: {what} should have {expected} bytes and has {found}")]
    Truncated {
        /// The scene's file name.
        scene: String,
        /// The file or the chunk.
        what: &'static str,
        /// Bytes that there should be.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The binary file's structure is wrong.
    #[error("scene `{scene}` is not a valid .glb file: {problem}")]
    Container {
        /// The scene's file name.
        scene: String,
        /// What is wrong.
        problem: String,
    },
    /// The JSON is not UTF-8.
    #[error("scene `{scene}` holds JSON that is not UTF-8: byte {offset} is not text")]
    NotUtf8 {
        /// The scene's file name.
        scene: String,
        /// The first byte of the JSON that is not text.
        offset: u64,
    },
    /// The JSON is not glTF.
    #[error("scene `{scene}` holds JSON that is not glTF 2.0: {source}")]
    Json {
        /// The scene's file name.
        scene: String,
        /// What and where.
        source: serde_json::Error,
    },
    /// Another version of glTF.
    #[error("scene `{scene}` is glTF {found}; only glTF 2.0 is supported")]
    Version {
        /// The scene's file name.
        scene: String,
        /// Its version.
        found: String,
    },
    /// An extension without which the file may not be shown.
    #[error("scene `{scene}` requires the extension {extension}, which is not supported")]
    RequiredExtension {
        /// The scene's file name.
        scene: String,
        /// The extension.
        extension: String,
    },
    /// A named file is not there.
    #[error("scene `{scene}` names a {what} that is not there: {name}")]
    MissingFile {
        /// The scene's file name.
        scene: String,
        /// `texture` or `buffer`.
        what: &'static str,
        /// The file, as the scene names it.
        name: String,
        /// Where it was looked for.
        looked_in: PathBuf,
    },
    /// A named file cannot be read.
    #[error("scene `{scene}` names a {what} that cannot be read: {name}")]
    ReadFile {
        /// The scene's file name.
        scene: String,
        /// `texture` or `buffer`.
        what: &'static str,
        /// The file, as the scene names it.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Something is wrong at a place in the file.
    #[error("scene `{scene}`: {fault}")]
    Invalid {
        /// The scene's file name.
        scene: String,
        /// The place and the problem.
        fault: Fault,
    },
    /// No triangle is placed in the world.
    #[error("scene `{scene}` has no triangles to render")]
    NothingToRender {
        /// The scene's file name.
        scene: String,
    },
    /// The environment map cannot be read.
    #[error("environment `{path}` cannot be read")]
    ReadEnvironment {
        /// The map's path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The environment map is wrong.
    #[error("environment `{path}`: {problem}")]
    Environment {
        /// The map's path.
        path: String,
        /// What is wrong.
        problem: Problem,
    },
    /// Options that contradict each other or their domain.
    #[error("{0}")]
    Options(String),
}

impl LoadError {
    /// What to do about it, where that can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { .. } => "check the path; it is looked up from the current directory".to_owned(),
            Self::IsDirectory { .. } => "name the .gltf or .glb file inside it".to_owned(),
            Self::Empty { .. } | Self::Truncated { .. } => {
                "export or copy the file again; it did not arrive whole".to_owned()
            }
            Self::WrongMagic { .. } => "export the scene as glTF 2.0 (.glb or .gltf)".to_owned(),
            Self::Version { .. } | Self::NotUtf8 { .. } | Self::Json { .. } => {
                "export the scene again as glTF 2.0".to_owned()
            }
            Self::RequiredExtension { extension, .. } => {
                format!("export the scene without {extension}")
            }
            Self::MissingFile { looked_in, .. } => {
                format!("put it beside the scene; looked in {}", looked_in.display())
            }
            Self::NothingToRender { .. } => {
                "export at least one triangle mesh; points and lines are not rendered".to_owned()
            }
            Self::Environment { .. } => {
                "use an equirectangular .hdr or .exr map of finite radiance".to_owned()
            }
            Self::Invalid { fault, .. } => return fault.problem.hint(),
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::Container { .. }
            | Self::ReadFile { .. }
            | Self::ReadEnvironment { .. }
            | Self::Options(_) => return None,
        };
        Some(hint)
    }
}

impl Problem {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFinite { .. } => "repair the mesh in the program that made it and export again",
            Self::EmptyImage { .. } | Self::Undecodable(_) => "save the texture again as PNG, JPEG or WebP",
            Self::TooMany { .. } => "simplify the scene, or split it over several",
            Self::BeyondEnd { .. } => "export the scene again; a buffer did not arrive whole",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Why blobs are not a scene.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The bytes are not what the magic number says they should be.
    #[error("{what} does not begin with its magic number")]
    WrongMagic {
        /// The manifest or the blob.
        what: String,
    },
    /// Packed by another version of this program.
    #[error("{what} has format version {found}; this program reads version {expected}")]
    Version {
        /// The manifest or the blob.
        what: String,
        /// Its version.
        found: u8,
        /// The version read here.
        expected: u8,
    },
    /// A blob could not be had.
    #[error("blob {digest} could not be fetched")]
    Fetch {
        /// The blob.
        digest: blake3::Hash,
        /// Why.
        source: io::Error,
    },
    /// A blob's bytes are not the ones that its name promises.
    #[error("blob {expected} has the digest {found}")]
    DigestMismatch {
        /// The name.
        expected: blake3::Hash,
        /// The digest of the bytes.
        found: blake3::Hash,
    },
    /// The bytes cannot be decoded.
    #[error("{what} cannot be decoded: {problem}")]
    Malformed {
        /// The manifest or the blob.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The scene breaks an invariant or a limit.
    #[error("the scene is not valid: {0}")]
    Invalid(#[from] Fault),
}
