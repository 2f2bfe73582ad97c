// What a scene has. A kernel that is compiled for a scene leaves out what that
// has not, which is worth a quarter of the time on some adapters; the native
// version looks at the switches as it runs, and skips what they close.

// Materials with textures.
override HAS_TEXTURES: bool = true;
// A sky that is a map.
override HAS_SKY_MAP: bool = true;
// Triangles that alpha may make less than opaque.
override HAS_ALPHA: bool = true;
// Lights of any kind.
override HAS_LIGHTS: bool = true;
// Materials that emit.
override HAS_EMISSION: bool = true;
// Meshes that are placed more than once and have trees of their own.
override HAS_INSTANCES: bool = true;
// Materials with a clear coat.
override HAS_COAT: bool = true;
// Materials with a sheen.
override HAS_SHEEN: bool = true;
// Materials whose roughness depends on the direction.
override HAS_ANISOTROPY: bool = true;
// Materials with a thin film.
override HAS_IRIDESCENCE: bool = true;
// Materials that light goes through otherwise than by their alpha.
override HAS_TRANSMISSION: bool = true;
// Anything that moves while the shutter is open.
override HAS_MOTION: bool = true;
