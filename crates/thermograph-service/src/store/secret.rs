//! Keys as their owners have them, and what is kept of one: its hash.
//!
//! A key is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess. A key
//! that is presented is hashed first and looked up by its hash, so how long that takes tells nothing
//! of how much of a wrong key is right.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use memchr::memmem;
use sha2::{Digest as _, Sha256};

use super::StoreError;

/// Beginning of every key.
const BEGINNING: &str = "tg-";
/// Characters after that.
const LENGTH: usize = 43;
/// Characters that are shown, so that people tell keys apart: 24 bits of 256.
const SHOWN: usize = BEGINNING.len() + 4;

/// A key, shown once to who made it.
pub struct Secret(String);

/// SHA-256 of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Hash([u8; 32]);

impl Secret {
    /// Characters of a key.
    pub(crate) const LENGTH: usize = BEGINNING.len() + LENGTH;

    /// Random bits of the system.
    pub(super) fn new() -> Result<Self, StoreError> {
        Ok(Self(format!("{BEGINNING}{}", URL_SAFE_NO_PAD.encode(random::<32>()?))))
    }

    /// Returns whether a text has a key in it, or what looks like one.
    pub(crate) fn is_in(text: &[u8]) -> bool {
        let mut beginnings = memmem::find_iter(text, BEGINNING);
        beginnings.any(|at| {
            let rest = text[at + BEGINNING.len()..].iter();
            rest.take_while(|byte| is_digit(**byte)).count() >= LENGTH
        })
    }

    /// The key itself, for who made it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its first characters.
    pub(super) fn prefix(&self) -> &str {
        &self.0[..SHOWN]
    }

    pub(super) fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl Hash {
    /// Of what was presented; none where it does not even look like a key of ours.
    pub(super) fn of_presented(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(BEGINNING)?;
        (rest.len() == LENGTH && rest.bytes().all(is_digit)).then(|| Self::of(text))
    }

    /// From what [`Hash::hex`] gives.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    pub(super) fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// One of `count` places that it always has.
    pub(super) fn place(&self, count: usize) -> usize {
        usize::from(self.0[0]) % count
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// A name for a key that is no secret.
pub(super) fn id() -> Result<String, StoreError> {
    Ok(format!("key_{}", hex::encode(random::<8>()?)))
}

/// Random bits of the system.
fn random<const BYTES: usize>() -> Result<[u8; BYTES], StoreError> {
    let mut bits = [0; BYTES];
    getrandom::fill(&mut bits).map_err(|_| StoreError::NoRandomness)?;
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_not_shown() {
        let secret = Secret::new().expect("random bits");
        let hash = Hash::of_presented(secret.reveal()).expect("it looks like one");
        assert_eq!(hash, secret.hash());
        assert_eq!(Hash::from_hex(&hash.hex()), Some(hash));
        assert!(secret.reveal().starts_with(secret.prefix()) && secret.prefix().len() == 7);
        assert!(!format!("{secret:?} {}", hash.hex()).contains(&secret.reveal()[3..]));
        assert_ne!(Secret::new().expect("random bits").reveal(), secret.reveal());
    }

    #[test]
    fn what_does_not_look_like_a_key_is_not_hashed() {
        let almost = format!("tg-{}", "a".repeat(42));
        for other in ["", "none", "sk-proj-1", "tg-", &almost, &format!("{almost}ä")] {
            assert_eq!(Hash::of_presented(other), None, "{other}");
        }
        assert!(Hash::of_presented(&format!("{almost}b")).is_some());
        assert_eq!(Hash::from_hex("00"), None);
        assert_eq!(Hash::from_hex(&"ä".repeat(32)), None);
    }

    /// Whatever compares hashes, here or in a database, may stop at the first byte that differs: where
    /// that is must not depend on how much of a key is right.
    #[test]
    fn how_much_of_a_wrong_key_is_right_is_not_seen_in_its_hash() {
        let right = format!("tg-{}", "aB3_".repeat(11).split_at(LENGTH).0);
        let hash = Hash::of_presented(&right).expect("it looks like one");
        let alike = (BEGINNING.len()..right.len()).map(|wrong_from| {
            let wrong = right[..wrong_from].to_owned() + &"-".repeat(right.len() - wrong_from);
            let wrong = Hash::of_presented(&wrong).expect("it looks like one");
            hash.0.iter().zip(wrong.0).take_while(|(right, wrong)| *right == wrong).count()
        });
        let alike: Vec<_> = alike.collect();
        assert_eq!(alike.len(), LENGTH);
        // Two hashes begin with the same byte once in 256 times, and with the same two once in 65,536.
        assert!(alike.iter().all(|bytes| *bytes <= 1), "{alike:?}");
    }

    #[test]
    fn the_hash_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Hash::of("").hex(), empty);
    }
}
