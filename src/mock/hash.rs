//! Numbers that depend on a text and nothing else, in any process.

/// FNV-1a of the bytes, stirred by `SplitMix64` for each number.
pub(super) struct Hash(u64);

impl Hash {
    pub(super) fn of(bytes: impl Iterator<Item = u8>) -> Self {
        let stir = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, stir))
    }

    /// The next number, above 0 and below 1.
    pub(super) fn next_share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 52 bits, so that half a step can be added.
        ((mixed >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_has_the_same_numbers() {
        let numbers = |text: &str| {
            let mut hash = Hash::of(text.bytes());
            [hash.next_share(), hash.next_share()].map(f64::to_bits)
        };
        assert_eq!(numbers("a"), numbers("a"));
        assert_ne!(numbers("a"), numbers("b"));
        let [first, second] = numbers("a");
        assert_ne!(first, second);
        assert!((0.0..1.0).contains(&f64::from_bits(first)));
    }
}
