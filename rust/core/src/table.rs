//! Interning: names, rdata and addresses become small numbers, each stored once.
//!
//! Looking up a million names is waiting for memory. So callers hand over batches: a first loop
//! of plain, independent loads brings the lines in ([`Index::first`], the `warm` functions), and
//! the loop that does the work then finds them there. On the 5 M packet benchmark this halves the
//! time of the reducer.

use std::hash::BuildHasher;
use std::hint::black_box;

use foldhash::quality::RandomState;

use crate::link::Address;
use crate::name;
use crate::rdata;

/// Stands for "no number".
pub const NONE: u32 = u32::MAX;

/// Numbers by 32-bit hash: open addressing with linear probing, at most three quarters full.
///
/// A slot is `hash << 32 | number + 1`; 0 is empty. What a number stands for is the caller's.
#[derive(Default)]
pub struct Index {
    slots: Vec<u64>,
    len: usize,
}

impl Index {
    pub fn with_capacity(n: usize) -> Self {
        Index { slots: vec![0; if n == 0 { 0 } else { (n + n / 2).next_power_of_two() }], len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory it takes.
    pub fn n_bytes(&self) -> usize {
        8 * self.slots.capacity()
    }

    /// The number in the first slot of a hash ([`NONE`] if empty): likely, not surely, the one.
    pub fn first(&self, hash: u32) -> u32 {
        let mask = self.slots.len().wrapping_sub(1);
        self.slots.get(hash as usize & mask).map_or(NONE, |slot| (*slot as u32).wrapping_sub(1))
    }

    pub fn find(&self, hash: u32, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let slot = self.slots[place];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == hash {
                let number = slot as u32 - 1;
                if same(number) {
                    return Some(number);
                }
            }
            place = (place + 1) & mask;
        }
    }

    /// Add a number that [`find`](Self::find) did not find.
    pub fn insert(&mut self, hash: u32, number: u32) {
        if 4 * (self.len + 1) > 3 * self.slots.len() {
            let bigger = vec![0; (self.slots.len() * 2).max(16)];
            for slot in std::mem::replace(&mut self.slots, bigger) {
                if slot != 0 {
                    self.put(slot);
                }
            }
        }
        self.put(u64::from(hash) << 32 | (u64::from(number) + 1));
        self.len += 1;
    }

    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut place = (slot >> 32) as usize & mask;
        while self.slots[place] != 0 {
            place = (place + 1) & mask;
        }
        self.slots[place] = slot;
    }
}

/// Bytes of a string that stand beside its length in one half of a cache line.
const HEAD: usize = 31;

/// First bytes of a string with zeros behind them, and its length (255 stands for more) as the last
/// byte: four little-endian words, so that making and comparing one needs no memory in between.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(32))]
struct Head([u64; 4]);

/// The bits of each word of a [`Head`] that the first so many bytes fill.
const FILLED: [[u64; 4]; HEAD + 1] = {
    let mut masks = [[0; 4]; HEAD + 1];
    let mut byte = 0;
    while byte < HEAD {
        masks[byte + 1] = masks[byte];
        masks[byte + 1][byte / 8] |= 0xFF << (8 * (byte % 8));
        byte += 1;
    }
    masks
};

/// The head of `arena[start..start + len]`.
fn head_of(arena: &[u8], start: usize, len: usize) -> Head {
    let n = len.min(HEAD);
    let mut padded = [0; HEAD + 1];
    // Reading a fixed number of bytes and blotting out the rest is several times faster.
    let bytes: &[u8; HEAD + 1] = match arena.get(start..start + HEAD + 1).and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => bytes,
        None => {
            padded[..n].copy_from_slice(&arena[start..start + n]);
            &padded
        }
    };
    let mut words = [0; 4];
    for ((word, eight), mask) in words.iter_mut().zip(bytes.as_chunks::<8>().0).zip(FILLED[n]) {
        *word = u64::from_le_bytes(*eight) & mask;
    }
    words[3] |= (len.min(255) as u64) << 56;
    Head(words)
}

/// Byte strings by number, in the order of their first appearance.
///
/// Hashing is seeded per process, so that a hostile capture cannot aim at collisions. Most names
/// fit a [`Head`], so that comparing them costs one line of memory and no loop.
#[derive(Default)]
pub struct Strings {
    arena: Vec<u8>,
    /// `start << 24 | length`: up to a terabyte of strings of up to 16 MiB.
    places: Vec<u64>,
    heads: Vec<Head>,
    index: Index,
    state: RandomState,
}

impl Strings {
    fn alike(&self) -> Self {
        Strings { state: self.state.clone(), ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The number of a string that was interned before.
    pub fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.index.find(self.hash(bytes), |id| self.get(id) == bytes)
    }

    /// Memory it takes.
    pub fn n_bytes(&self) -> usize {
        self.arena.len() + self.places.len() * (8 + size_of::<Head>()) + self.index.n_bytes()
    }

    pub fn get(&self, id: u32) -> &[u8] {
        let place = self.places[id as usize];
        let start = (place >> 24) as usize;
        &self.arena[start..start + (place & 0xFF_FFFF) as usize]
    }

    pub fn hash(&self, bytes: &[u8]) -> u32 {
        (self.state.hash_one(bytes) >> 32) as u32
    }

    /// Bring in what [`intern`](Self::intern) of these hashes will touch.
    pub fn warm(&self, hashes: impl Iterator<Item = u32> + Clone) {
        black_box(hashes.clone().fold(0, |sum, hash| sum ^ self.index.first(hash)));
        black_box(
            hashes
                .fold(0, |sum, hash| sum ^ self.heads.get(self.index.first(hash) as usize).map_or(0, |head| head.0[3])),
        );
    }

    /// The number of a string whose [`hash`](Self::hash) is known.
    pub fn intern(&mut self, hash: u32, bytes: &[u8]) -> u32 {
        self.intern_in(hash, bytes, 0, bytes.len())
    }

    /// The same for `arena[start..start + len]`, which costs less when more stands behind it.
    pub fn intern_in(&mut self, hash: u32, arena: &[u8], start: usize, len: usize) -> u32 {
        let (head, bytes) = (head_of(arena, start, len), &arena[start..start + len]);
        let same = |id: u32| self.heads[id as usize] == head && (bytes.len() <= HEAD || self.get(id) == bytes);
        if let Some(id) = self.index.find(hash, same) {
            return id;
        }
        let id = self.places.len() as u32;
        assert!(id < NONE && bytes.len() < 1 << 24, "fewer than 2^32 strings, each below 16 MiB");
        self.places.push((self.arena.len() as u64) << 24 | bytes.len() as u64);
        self.heads.push(head);
        self.arena.extend_from_slice(bytes);
        self.index.insert(hash, id);
        id
    }
}

/// What a rdata number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    A(u32),
    /// Number of a name in [`Tables::names`].
    Name(u32),
    /// Number in [`Tables::bytes`]: record type, then canonical bytes.
    Bytes(u32),
    /// Number in [`Tables::bytes`]: record type, then the presentation form that is kept.
    Text(u32),
}

/// Canonical bytes and presentation forms are kept in one table, told apart by the first byte.
pub const CANONICAL: u8 = 0;
pub const TEXT: u8 = 1;
/// Kind and record type before the bytes of a rdata in [`Tables::bytes`].
pub const RDATA_PREFIX: usize = 3;

/// A seeded permutation of 32-bit numbers: equal hashes are equal numbers, so that nothing else
/// has to be compared.
struct Mix(u32);

impl Default for Mix {
    fn default() -> Self {
        Mix(RandomState::default().hash_one(0u8) as u32)
    }
}

impl Mix {
    fn hash(&self, value: u32) -> u32 {
        let mut mixed = value ^ self.0;
        for multiplier in [0x85EB_CA6B_u32, 0xC2B2_AE35] {
            mixed = (mixed ^ (mixed >> 16)).wrapping_mul(multiplier | 1).rotate_left(self.0 & 31);
        }
        mixed ^ (mixed >> 16)
    }
}

/// An IPv4 address in its mapped form as a number.
fn ipv4(address: &Address) -> Option<u32> {
    let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d] = *address else { return None };
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// All that is interned while one input is reduced.
#[derive(Default)]
pub struct Tables {
    pub names: Strings,
    /// Rdata that is neither an IPv4 address nor a name, behind [`RDATA_PREFIX`] bytes.
    pub bytes: Strings,
    entries: Vec<Entry>,
    /// Numbers of the entries of A, of names, and (by number of its bytes) of other rdata.
    a: Index,
    name: Index,
    other: Vec<u32>,
    mix: Mix,
    state: RandomState,
    clients: Vec<Address>,
    /// Numbers of the clients: of IPv4 (equal hashes are equal addresses), and of IPv6.
    client: Index,
    client6: Index,
}

impl Tables {
    /// Empty tables that hash as these do.
    pub fn alike(&self) -> Self {
        let Tables { names, bytes, mix, state, .. } = self;
        Tables { names: names.alike(), bytes: bytes.alike(), mix: Mix(mix.0), state: state.clone(), ..Self::default() }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn clients(&self) -> &[Address] {
        &self.clients
    }

    /// Memory it takes.
    pub fn n_bytes(&self) -> usize {
        let indexes = [&self.a, &self.name, &self.client].map(Index::n_bytes).iter().sum::<usize>();
        let vectors = size_of::<Entry>() * self.entries.len() + 4 * self.other.len() + 16 * self.clients.len();
        self.names.n_bytes() + self.bytes.n_bytes() + indexes + vectors
    }

    /// Bring in what interning these entries will touch; other kinds than A and Name are not.
    pub fn warm_rdata(&self, entries: impl Iterator<Item = Entry>) {
        let sum = entries.fold(0, |sum, entry| match entry {
            Entry::A(address) => sum ^ self.a.first(self.mix.hash(address)),
            Entry::Name(name) => sum ^ self.name.first(self.mix.hash(name)),
            _ => sum,
        });
        black_box(sum);
    }

    /// The number of a rdata; A and name rdata of the same value are different entries.
    pub fn intern_rdata(&mut self, entry: Entry) -> u32 {
        let (index, value) = match entry {
            Entry::A(value) => (&mut self.a, value),
            Entry::Name(value) => (&mut self.name, value),
            Entry::Bytes(id) | Entry::Text(id) => return self.intern_other(entry, id),
        };
        let hash = self.mix.hash(value);
        index.find(hash, |_| true).unwrap_or_else(|| {
            let code = self.entries.len() as u32;
            self.entries.push(entry);
            index.insert(hash, code);
            code
        })
    }

    /// The number of a rdata that was interned before.
    pub fn find_rdata(&self, entry: Entry) -> Option<u32> {
        match entry {
            Entry::A(value) => self.a.find(self.mix.hash(value), |_| true),
            Entry::Name(value) => self.name.find(self.mix.hash(value), |_| true),
            Entry::Bytes(id) | Entry::Text(id) => self.other.get(id as usize).copied().filter(|code| *code != NONE),
        }
    }

    fn intern_other(&mut self, entry: Entry, id: u32) -> u32 {
        if self.other.len() <= id as usize {
            self.other.resize(self.bytes.len().max(id as usize + 1), NONE);
        }
        let code = &mut self.other[id as usize];
        if *code == NONE {
            *code = self.entries.len() as u32;
            self.entries.push(entry);
        }
        *code
    }

    pub fn client_hash(&self, address: &Address) -> u32 {
        match ipv4(address) {
            Some(value) => self.mix.hash(value),
            None => (self.state.hash_one(u128::from_be_bytes(*address)) >> 32) as u32,
        }
    }

    /// Bring in what interning clients of these hashes will touch.
    pub fn warm_clients(&self, hashes: impl Iterator<Item = u32>) {
        black_box(hashes.fold(0, |sum, hash| sum ^ self.client.first(hash)));
    }

    /// The number of a client whose [`client_hash`](Self::client_hash) is known.
    pub fn intern_client(&mut self, hash: u32, address: Address) -> u32 {
        let Tables { clients, client, client6, .. } = self;
        let is_v4 = ipv4(&address).is_some();
        let index = if is_v4 { client } else { client6 };
        if let Some(id) = index.find(hash, |id| is_v4 || clients[id as usize] == address) {
            return id;
        }
        let id = clients.len() as u32;
        index.insert(hash, id);
        clients.push(address);
        id
    }

    /// Take in the tables of another worker; returns what its numbers are here.
    pub fn absorb(&mut self, other: &Tables) -> Mapping {
        let names = absorb_strings(&mut self.names, &other.names);
        let bytes = absorb_strings(&mut self.bytes, &other.bytes);
        let mut rdata = Vec::with_capacity(other.entries.len());
        for chunk in other.entries.chunks(WARM) {
            let renamed = |entry: &Entry| match *entry {
                Entry::A(address) => Entry::A(address),
                Entry::Name(id) => Entry::Name(names[id as usize]),
                Entry::Bytes(id) => Entry::Bytes(bytes[id as usize]),
                Entry::Text(id) => Entry::Text(bytes[id as usize]),
            };
            self.warm_rdata(chunk.iter().map(renamed));
            rdata.extend(chunk.iter().map(|entry| self.intern_rdata(renamed(entry))));
        }
        let clients =
            other.clients.iter().map(|address| self.intern_client(self.client_hash(address), *address)).collect();
        Mapping { names, rdata, clients }
    }

    pub fn present_name(&self, id: u32, out: &mut String) {
        name::present(self.names.get(id), out);
    }

    pub fn present_rdata(&self, code: u32, out: &mut String) {
        match self.entries[code as usize] {
            Entry::A(address) => rdata::present_a(address, out),
            Entry::Name(id) => self.present_name(id, out),
            Entry::Bytes(id) => {
                let (prefix, bytes) = self.bytes.get(id).split_at(RDATA_PREFIX);
                rdata::present(u16::from_be_bytes([prefix[1], prefix[2]]), bytes, out);
            }
            Entry::Text(id) => out.push_str(&String::from_utf8_lossy(&self.bytes.get(id)[RDATA_PREFIX..])),
        }
    }
}

/// How many lookups are warmed at once: their lines fit the first-level cache.
pub const WARM: usize = 128;

fn absorb_strings(into: &mut Strings, other: &Strings) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(other.len());
    let mut hashes = Vec::with_capacity(WARM);
    for start in (0..other.len()).step_by(WARM) {
        let ids = start as u32..(start + WARM).min(other.len()) as u32;
        hashes.clear();
        hashes.extend(ids.clone().map(|id| into.hash(other.get(id))));
        into.warm(hashes.iter().copied());
        numbers.extend(ids.zip(&hashes).map(|(id, hash)| into.intern(*hash, other.get(id))));
    }
    numbers
}

/// Numbers of one [`Tables`] in another.
pub struct Mapping {
    pub names: Vec<u32>,
    pub rdata: Vec<u32>,
    pub clients: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn interning_is_what_a_hash_map_does(words in prop::collection::vec("[a-c]{0,4}", 0..400)) {
            let (mut strings, mut map) = (Strings::default(), HashMap::new());
            for word in &words {
                let id = strings.intern(strings.hash(word.as_bytes()), word.as_bytes());
                let n = map.len() as u32;
                prop_assert_eq!(id, *map.entry(word.clone()).or_insert(n));
                prop_assert_eq!(strings.get(id), word.as_bytes());
            }
        }

        #[test]
        fn equal_hashes_are_equal_numbers(seed in any::<u32>(), a in any::<u32>(), b in any::<u32>()) {
            let mix = Mix(seed);
            prop_assert_eq!(mix.hash(a) == mix.hash(b), a == b);
        }
    }

    #[test]
    fn tables_of_two_workers_meet() {
        let (mut one, mut two) = (Tables::default(), Tables::default());
        let name = |tables: &mut Tables, text: &[u8]| tables.names.intern(tables.names.hash(text), text);
        name(&mut one, b"\x01a\0");
        let b = name(&mut two, b"\x01b\0");
        let a = name(&mut two, b"\x01a\0");
        one.intern_rdata(Entry::A(7));
        let codes = [two.intern_rdata(Entry::Name(b)), two.intern_rdata(Entry::A(7)), two.intern_rdata(Entry::Name(a))];
        let mapping = one.absorb(&two);
        assert_eq!(mapping.names, [1, 0]);
        assert_eq!(codes.map(|code| mapping.rdata[code as usize]), [1, 0, 2]);
        assert_eq!(one.entries()[2], Entry::Name(0));
    }
}
