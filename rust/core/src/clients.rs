//! Privacy at the door: what is kept of the addresses of those who asked.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::link::Address;

/// Pseudonyms look like addresses of the discard-only block 100::/64 (RFC 6666), which no host has,
/// so every tool that takes an address takes them too.
const PSEUDONYMS: [u8; 8] = [0x01, 0, 0, 0, 0, 0, 0, 0];

/// What becomes of a client's address before anything else sees it.
#[derive(Clone, Debug, Default)]
pub enum Clients {
    #[default]
    Keep,
    Drop,
    /// A keyed hash (SipHash-2-4, 64 bits): the same client stays the same under the same key, and
    /// without the key nobody can try all addresses.
    Pseudonymise([u8; 16]),
}

impl Clients {
    /// # Errors
    /// A sentence when the policy is unknown or its key is missing.
    pub fn from_name(name: &str, key: Option<[u8; 16]>) -> Result<Self, String> {
        match (name, key) {
            ("keep", _) => Ok(Clients::Keep),
            ("drop", _) => Ok(Clients::Drop),
            ("pseudonymise", Some(key)) => Ok(Clients::Pseudonymise(key)),
            ("pseudonymise", None) => Err("pseudonymise needs a key of 16 bytes".to_owned()),
            (other, _) => Err(format!("clients are kept, pseudonymised or dropped, not {other:?}")),
        }
    }

    pub fn admit(&self, address: Address) -> Option<Address> {
        match self {
            Clients::Keep => Some(address),
            Clients::Drop => None,
            Clients::Pseudonymise(_) if address.starts_with(&PSEUDONYMS) => Some(address),
            Clients::Pseudonymise(key) => {
                let mut hasher = SipHasher24::new_with_key(key);
                hasher.write(&address);
                let mut pseudonym = [0; 16];
                pseudonym[..8].copy_from_slice(&PSEUDONYMS);
                pseudonym[8..].copy_from_slice(&hasher.finish().to_be_bytes());
                Some(pseudonym)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_the_key_and_is_made_once() {
        let (one, other) = (Clients::Pseudonymise([1; 16]), Clients::Pseudonymise([2; 16]));
        let address = [7; 16];
        let pseudonym = one.admit(address).unwrap();
        assert_ne!(pseudonym, address);
        assert_eq!(one.admit(address), Some(pseudonym));
        assert_ne!(other.admit(address), Some(pseudonym));
        assert_eq!(one.admit(pseudonym), Some(pseudonym));
        assert_eq!(Clients::Drop.admit(address), None);
    }
}
