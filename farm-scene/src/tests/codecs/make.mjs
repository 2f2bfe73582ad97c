// Makes streams.json: small streams of the codecs that glTF extensions use, as
// their reference encoders write them, and what their reference decoders make of
// them; all bytes in base64.
//
//     npm install meshoptimizer draco3dgltf ktx2-encoder
//     node make.mjs                     in this folder, beside node_modules

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { MeshoptDecoder, MeshoptEncoder } from 'meshoptimizer';

const require = createRequire(import.meta.url);
const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

// A grid of 5 × 5 vertices, gently curved, and its 32 triangles.
const side = 5;
const positions = [], normals = [], colors = [], turns = [], indices = [];
for (let y = 0; y < side; y++) {
  for (let x = 0; x < side; x++) {
    const [u, v] = [x / (side - 1), y / (side - 1)];
    const height = 0.25 * Math.sin(3 * u) * Math.cos(2 * v);
    positions.push(u, v, height);
    const slope = [-0.75 * Math.cos(3 * u) * Math.cos(2 * v), 0.5 * Math.sin(3 * u) * Math.sin(2 * v), 1];
    const length = Math.hypot(...slope);
    normals.push(...slope.map((value) => value / length), 0);
    colors.push(u, v, 0.5, 1);
    const half = u + v;
    turns.push(Math.sin(half) * 0.6, Math.sin(half) * 0.8, 0, Math.cos(half));
    if (x + 1 < side && y + 1 < side) {
      const corner = y * side + x;
      indices.push(corner, corner + 1, corner + side + 1, corner, corner + side + 1, corner + side);
    }
  }
}
const count = side * side;
const floats = (values) => new Float32Array(values);

await Promise.all([MeshoptEncoder.ready, MeshoptDecoder.ready]);
const meshopt = {};
function compress(name, elements, mode, filter, stride, bytes, version) {
  const stream = MeshoptEncoder.encodeGltfBuffer(bytes, elements, stride, mode, version);
  const decoded = new Uint8Array(elements * stride);
  MeshoptDecoder.decodeGltfBuffer(decoded, elements, stride, stream, mode, filter);
  meshopt[name] = { mode, filter, count: elements, stride, stream: base64(stream), decoded: base64(decoded) };
}
const attributes = (name, filter, stride, bytes, version = 0) =>
  compress(name, count, 'ATTRIBUTES', filter, stride, bytes, version);
attributes('positions', 'NONE', 12, bytesOf(floats(positions)));
attributes('positions_1', 'NONE', 12, bytesOf(floats(positions)), 1);
attributes('normals_8', 'OCTAHEDRAL', 4, MeshoptEncoder.encodeFilterOct(floats(normals), count, 4, 8));
attributes('normals_16', 'OCTAHEDRAL', 8, MeshoptEncoder.encodeFilterOct(floats(normals), count, 8, 12));
attributes('turns', 'QUATERNION', 8, MeshoptEncoder.encodeFilterQuat(floats(turns), count, 8, 14));
attributes('exponents', 'EXPONENTIAL', 12, MeshoptEncoder.encodeFilterExp(floats(positions), count, 12, 15));
attributes('colors', 'COLOR', 4, MeshoptEncoder.encodeFilterColor(floats(colors), count, 4, 8), 1);
compress('triangles', indices.length, 'TRIANGLES', 'NONE', 2, bytesOf(new Uint16Array(indices)), 1);
compress('wide_triangles', indices.length, 'TRIANGLES', 'NONE', 4, bytesOf(new Uint32Array(indices)), 1);
compress('indices', indices.length, 'INDICES', 'NONE', 2, bytesOf(new Uint16Array(indices)), 1);

// Draco, by both of its ways to store connectivity.
const { createEncoderModule, createDecoderModule } = require('draco3dgltf');
const [encoders, decoders] = [await createEncoderModule({}), await createDecoderModule({})];
const draco = {};
for (const [name, method] of [['edgebreaker', 'MESH_EDGEBREAKER_ENCODING'], ['sequential', 'MESH_SEQUENTIAL_ENCODING']]) {
  const [builder, mesh, encoder] = [new encoders.MeshBuilder(), new encoders.Mesh(), new encoders.Encoder()];
  builder.AddFacesToMesh(mesh, indices.length / 3, new Uint32Array(indices));
  builder.AddFloatAttribute(mesh, encoders.POSITION, count, 3, floats(positions));
  const narrow = floats(normals.filter((_, i) => i % 4 < 3));
  builder.AddFloatAttribute(mesh, encoders.NORMAL, count, 3, narrow);
  builder.AddUInt8Attribute(mesh, encoders.COLOR, count, 4, new Uint8Array(colors.map((c) => Math.round(255 * c))));
  encoder.SetEncodingMethod(encoders[method]);
  encoder.SetAttributeQuantization(encoders.POSITION, 12);
  encoder.SetAttributeQuantization(encoders.NORMAL, 9);
  const encoded = new encoders.DracoInt8Array();
  const length = encoder.EncodeMeshToDracoBuffer(mesh, encoded);
  const stream = new Uint8Array(length).map((_, i) => encoded.GetValue(i));

  const [decoder, decoded] = [new decoders.Decoder(), new decoders.Mesh()];
  decoder.DecodeArrayToMesh(stream, length, decoded);
  const points = decoded.num_points();
  const attribute = (id) => {
    const [found, values] = [decoder.GetAttributeByUniqueId(decoded, id), new decoders.DracoFloat32Array()];
    decoder.GetAttributeFloatForAllPoints(decoded, found, values);
    return base64(bytesOf(floats(Array.from({ length: values.size() }, (_, i) => values.GetValue(i)))));
  };
  const faces = new Uint32Array(decoded.num_faces() * 3);
  const face = new decoders.DracoInt32Array();
  for (let i = 0; i < decoded.num_faces(); i++) {
    decoder.GetFaceFromMesh(decoded, i, face);
    for (let corner = 0; corner < 3; corner++) faces[3 * i + corner] = face.GetValue(corner);
  }
  draco[name] = {
    count: points, stream: base64(stream), positions: attribute(0), normals: attribute(1), colors: attribute(2),
    indices: base64(bytesOf(faces)),
  };
}

// Basis Universal: 6 × 5 texels, so that blocks hang over the edges.
const ktx2 = {};
const [width, height] = [6, 5];
const texels = new Uint8Array(width * height * 4);
for (let i = 0; i < width * height; i++) {
  const [x, y] = [i % width, Math.floor(i / width)];
  texels.set([40 * x, 50 * y, 128, x < 3 ? 255 : 90], 4 * i);
}
const { default: BASIS } = await import('./node_modules/ktx2-encoder/dist/basis/basis_encoder.js');
const basis = await BASIS();
basis.initializeBasis();
const { encodeToKTX2 } = await import('ktx2-encoder');
const imageDecoder = async () => ({ data: texels, width, height });
for (const [name, options] of [
  ['etc1s', { isUASTC: false, qualityLevel: 200 }],
  ['uastc', { isUASTC: true, needSupercompression: false }],
  ['uastc_zstd', { isUASTC: true, needSupercompression: true }],
  ['etc1s_levels', { isUASTC: false, generateMipmap: true }],
  ['uastc_levels', { isUASTC: true, needSupercompression: true, generateMipmap: true }],
]) {
  const stream = await encodeToKTX2(new Uint8Array(1), { generateMipmap: false, ...options, imageDecoder });
  const file = new basis.KTX2File(stream);
  file.startTranscoding();
  const rgba32 = 13;
  const decoded = new Uint8Array(width * height * 4);
  if (!file.transcodeImage(decoded, 0, 0, 0, rgba32, 0, -1, -1)) throw new Error(name);
  ktx2[name] = { width, height, stream: base64(stream), decoded: base64(decoded) };
}

// One line for each stream.
const lines = (group) => Object.entries(group).map(([name, value]) => `  "${name}": ${JSON.stringify(value)}`);
const groups = Object.entries({ meshopt, draco, ktx2 });
const body = groups.map(([name, group]) => ` "${name}": {\n${lines(group).join(',\n')}\n }`).join(',\n');
writeFileSync('streams.json', `{\n${body}\n}\n`);
process.exit();
