//! Numbers for tests, with nothing in common with the kernel's own hashes.

use glam::Vec3;

/// SplitMix64 (Steele, Lea & Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn word(&mut self) -> u32 {
        u32::try_from(self.bits() >> 32).expect("32 bits are left")
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(count).expect("small")).expect("small")
    }

    /// Between 0 and 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 2_f64.powi(32)
    }

    /// In [−1, 1).
    pub(crate) fn signed(&mut self) -> f32 {
        f32::from(u16::try_from(self.bits() >> 48).expect("16 bits")) / 32_768.0 - 1.0
    }

    pub(crate) fn point(&mut self) -> Vec3 {
        Vec3::new(self.signed(), self.signed(), self.signed())
    }
}
