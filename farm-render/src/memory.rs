//! The machine's memory, where the system tells it.

use farm_scene::{Environment, Mesh, Scene, Texels};

use crate::RenderError;
use crate::layout::{Node, Triangle};

/// Triangles below a node of the kernel's trees at most: three for each of eight children.
const TRIANGLES_TO_A_NODE: u64 = 24;

/// Refuses what needs more memory than there is, with both sizes; where the system
/// does not tell, everything is tried.
pub(crate) fn check(what: &str, needed: u64) -> Result<(), RenderError> {
    let told = std::fs::read_to_string("/proc/meminfo").ok();
    told.and_then(|text| available_in(&text))
        .map_or(Ok(()), |available| check_against(what, needed, available))
}

/// Bytes that can be had without swapping, in the text of `/proc/meminfo`.
fn available_in(text: &str) -> Option<u64> {
    number_in(text, "MemAvailable:")
}

/// Bytes that a line of `/proc/meminfo` names.
fn number_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes of memory of the machine, where the system tells it.
#[must_use]
pub fn machine_memory() -> Option<u64> {
    number_in(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

fn check_against(what: &str, needed: u64, available: u64) -> Result<(), RenderError> {
    if needed > available {
        return Err(RenderError::OutOfMemory { what: what.to_owned(), needed, available });
    }
    Ok(())
}

/// Bytes that a scene takes at least once it is prepared: triangles, indices, vertices,
/// texels and nodes. What building the trees takes meanwhile is not in it.
#[must_use]
pub fn needed_to_prepare(scene: &Scene) -> u64 {
    let meshes: u64 = scene.meshes.iter().map(bytes_of_mesh).sum();
    let images: u64 = scene.images.iter().map(|image| bytes_of_texels(&image.texels)).sum();
    let sky = match &scene.environment {
        Environment::Map(map) => 12 * u64::from(map.width) * u64::from(map.height),
        Environment::Constant(_) => 0,
    };
    meshes + images + sky
}

fn bytes_of_mesh(mesh: &Mesh) -> u64 {
    let triangles = mesh.triangles.len() as u64;
    let nodes = triangles.div_ceil(TRIANGLES_TO_A_NODE) * size_of::<Node>() as u64;
    // Words that the kernel reads of a vertex.
    let words = 3 * mesh.normals.len()
        + mesh.tangents.len()
        + 2 * (mesh.uvs[0].len() + mesh.uvs[1].len() + mesh.colors.len());
    triangles * (size_of::<Triangle>() as u64 + 12) + nodes + 4 * words as u64
}

fn bytes_of_texels(texels: &Texels) -> u64 {
    match texels {
        Texels::Rgba8(values) => size_of_val(&**values) as u64,
        Texels::Rgba16(values) => size_of_val(&**values) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_from_the_system() {
        let text = "MemTotal:       24606172 kB\nMemFree:  1 kB\nMemAvailable:   20113604 kB\n";
        assert_eq!(available_in(text), Some(20_113_604 * 1024));
        assert_eq!(number_in(text, "MemTotal:"), Some(24_606_172 * 1024));
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);
        assert_eq!(available_in("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn what_is_larger_than_the_memory_is_refused_with_both_sizes() {
        assert!(check_against("a scene", 7, 7).is_ok());
        let Err(RenderError::OutOfMemory { needed, available, .. }) = check_against("a scene", 8, 7) else {
            panic!("it does not fit");
        };
        assert_eq!((needed, available), (8, 7));
    }

    #[test]
    fn a_mesh_needs_its_triangles_at_the_least() {
        let mesh = Mesh { triangles: vec![[0, 0, 0]; 8], ..Mesh::default() };
        // Triangles of 48 bytes with 3 indices of 4, and one node of 80 bytes.
        assert_eq!(bytes_of_mesh(&mesh), 8 * 60 + 80);
    }
}
