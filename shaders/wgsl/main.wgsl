// The kernel.

import package::layout::{params, records, Record};
import package::film::film_radiance;
import package::path::{begin_path, extend_path, Path};
import package::sampler::pixel_key;
import package::vector::luminance;

// Samples of a base block, as the farm counts them.
const BLOCK_SAMPLES: u32 = 16u;
// 16 samples of at most 256 segments and 64 surfaces passed through.
const STEP_LIMIT_OF_BLOCK: u32 = 5120u;

// One invocation renders one base block of one pixel: it reads record `id.x`,
// traces the block's samples, and alone writes that record. Every step of its
// only loop grows a path by a segment or begins the next sample, so invocations
// that run in lockstep do not wait for each other's longest path.
@compute @workgroup_size(64)
fn render_block(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.record_count) {
        return;
    }
    var record = records[id.x];
    let x = record.pixel & 0xffffu;
    let y = record.pixel >> 16u;
    let key = pixel_key(params.seed, params.frame, x, y);
    var sample = record.block * BLOCK_SAMPLES;
    let end = min(sample + BLOCK_SAMPLES, params.samples_per_pixel);
    record.sum = vec4<f32>(0.0);
    record.luminance_squares = 0.0;
    record.rays = 0u;
    if (sample < end) {
        var path = begin_path(x, y, key, sample);
        for (var step = 0u; step < STEP_LIMIT_OF_BLOCK; step++) {
            path = extend_path(path);
            if (!path.alive) {
                let radiance = film_radiance(path.radiance);
                let brightness = luminance(radiance);
                record.sum += vec4<f32>(radiance, path.alpha);
                record.luminance_squares += brightness * brightness;
                record.rays += path.rays;
                sample += 1u;
                if (sample >= end) {
                    break;
                }
                path = begin_path(x, y, key, sample);
            }
        }
    }
    records[id.x] = record;
}
