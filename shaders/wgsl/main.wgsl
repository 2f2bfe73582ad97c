// The kernel that does everything in one go.

import package::traverse::{Hit, traverse};
import package::work::{advance_work, begin_work, Work};

// 16 samples of at most 256 segments, each with 64 surfaces that its shadow ray
// passed through, and 64 that its own did.
const STEP_LIMIT_OF_BLOCK: u32 = 267264u;

// One invocation renders one base block of one pixel: it reads record `id.x`,
// traces the block's samples, and alone writes that record. Every step of its
// only loop traces the rays that the path wants and takes it on by a segment or
// begins the next sample, so invocations that run in lockstep do not wait for
// each other's longest path.
@compute @workgroup_size(64)
fn render_block(@builtin(global_invocation_id) id: vec3<u32>) {
    var work = begin_work(id.x);
    var hit: Hit;
    for (var step = 0u; step < STEP_LIMIT_OF_BLOCK; step++) {
        if (work.done) {
            break;
        }
        var shadow_hit: Hit;
        if (work.path.shadowed) {
            shadow_hit = traverse(work.path.shadow, work.path.time, true);
        }
        if (work.path.alive && !work.path.held) {
            hit = traverse(work.path.ray, work.path.time, false);
        }
        work = advance_work(work, hit, shadow_hit);
    }
}
