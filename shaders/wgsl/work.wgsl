// A work item: samples of one base block of one pixel, one path after the other.

import package::layout::{params, records, Record};
import package::film::film_radiance;
import package::path::{advance_path, begin_path, Path};
import package::sampler::pixel_key;
import package::traverse::Hit;
import package::vector::luminance;

struct Work {
    // Place of its record.
    place: u32,
    record: Record,
    // The sample after its last.
    end: u32,
    path: Path,
    // Whether it is finished, and its record written.
    done: bool,
}

// Records of this dispatch.
fn record_count() -> u32 {
    return params.record_count;
}

// Takes up the work item that a record names; there is none from
// `params.record_count` on.
fn begin_work(place: u32) -> Work {
    var work: Work;
    work.place = place;
    work.done = place >= record_count();
    if (work.done) {
        return work;
    }
    var record = records[place];
    let x = record.pixel & 0xffffu;
    let y = record.pixel >> 16u;
    let sample = record.item * params.item_samples;
    record.sum = vec4<f32>(0.0);
    record.luminance_squares = 0.0;
    record.rays = 0u;
    work.record = record;
    work.end = min(sample + params.item_samples, params.samples_per_pixel);
    work.done = sample >= work.end;
    if (work.done) {
        records[place] = record;
        return work;
    }
    work.path = begin_path(x, y, pixel_key(params.seed, params.frame, x, y), sample);
    return work;
}

// Adds a path that is over to its record, and begins the next sample's or writes
// the record.
fn finish_path(before: Work) -> Work {
    var work = before;
    let path = work.path;
    let radiance = film_radiance(path.radiance * params.exposure);
    let brightness = luminance(radiance);
    work.record.sum += vec4<f32>(radiance, path.alpha);
    work.record.luminance_squares += brightness * brightness;
    work.record.rays += path.rays;
    let sample = path.sample + 1u;
    if (sample >= work.end) {
        work.done = true;
        records[work.place] = work.record;
        return work;
    }
    let pixel = work.record.pixel;
    work.path = begin_path(pixel & 0xffffu, pixel >> 16u, path.key, sample);
    return work;
}

// Takes a work item on by one step, from the hits of the rays that its path
// wanted traced.
fn advance_work(before: Work, hit: Hit, shadow_hit: Hit) -> Work {
    var work = before;
    work.path = advance_path(work.path, hit, shadow_hit);
    if (!work.path.alive && !work.path.shadowed) {
        work = finish_path(work);
    }
    return work;
}
