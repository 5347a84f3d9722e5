//! IP fragments to IP packets (RFC 791 §3.2, RFC 8200 §4.5, RFC 5722).

use std::collections::{BTreeMap, HashMap};

use crate::link::{Ends, Part, PartKind};
use crate::report::{Malformed, Report};

/// Packets that wait for more; beyond it the oldest half is given up.
const MAX_PACKETS: usize = 4_096;
/// Bytes that wait, of all packets together; beyond it the oldest half is given up.
const MAX_BYTES: usize = 32 << 20;
/// RFC 8200 §4.5: 60 seconds after its first piece a packet is given up.
const MAX_AGE_US: i64 = 60_000_000;
const MAX_PACKET: u32 = 65_535;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ends: Ends,
    id: u32,
    protocol: u8,
}

#[derive(Debug)]
struct Incomplete {
    pieces: BTreeMap<u32, Vec<u8>>,
    /// Where the packet ends, once its last piece was seen.
    total: Option<u32>,
    bytes: u32,
    first_us: i64,
    first_place: u64,
}

/// Packets of which some pieces are there.
#[derive(Debug, Default)]
pub struct Fragments {
    waiting: HashMap<Key, Incomplete>,
    bytes: usize,
}

impl Fragments {
    /// Take in a fragment; gives the packet's body when it was the last one missing.
    pub fn take(
        &mut self,
        part: &Part<'_>,
        ts_us: i64,
        place: u64,
        report: &mut Report,
    ) -> Option<(Ends, u8, Vec<u8>)> {
        let PartKind::Fragment { id, protocol, at, more } = part.kind else { return None };
        let key = Key { ends: part.ends, id, protocol };
        if self.waiting.get(&key).is_some_and(|old| ts_us.saturating_sub(old.first_us) > MAX_AGE_US) {
            self.give_up(key, Malformed::FragmentLost, report);
        }
        self.make_room(report);
        let packet = self.waiting.entry(key).or_insert_with(|| Incomplete {
            pieces: BTreeMap::new(),
            total: None,
            bytes: 0,
            first_us: ts_us,
            first_place: place,
        });
        match packet.add(at, more, &part.bytes) {
            Ok(added) => self.bytes += added,
            Err(kind) => {
                self.give_up(key, kind, report);
                return None;
            }
        }
        if !packet.whole() {
            return None;
        }
        let packet = self.waiting.remove(&key)?;
        self.bytes -= packet.bytes as usize;
        Some((key.ends, protocol, packet.pieces.into_values().flatten().collect()))
    }

    fn give_up(&mut self, key: Key, kind: Malformed, report: &mut Report) {
        if let Some(packet) = self.waiting.remove(&key) {
            self.bytes -= packet.bytes as usize;
            report.assembled += 1;
            report.malformed(kind, packet.first_place);
        }
    }

    fn make_room(&mut self, report: &mut Report) {
        if self.waiting.len() < MAX_PACKETS && self.bytes < MAX_BYTES {
            return;
        }
        let mut by_age: Vec<_> = self.waiting.iter().map(|(key, packet)| (packet.first_place, *key)).collect();
        by_age.sort_unstable_by_key(|(place, _)| *place);
        for (_, key) in by_age.iter().take(by_age.len().div_ceil(2)) {
            self.give_up(*key, Malformed::FragmentLost, report);
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self, report: &mut Report) {
        for key in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.give_up(key, Malformed::FragmentLost, report);
        }
    }
}

impl Incomplete {
    /// Returns how many bytes are new.
    fn add(&mut self, at: u32, more: bool, bytes: &[u8]) -> Result<usize, Malformed> {
        let end = at + bytes.len() as u32;
        if end > MAX_PACKET || (more && !bytes.len().is_multiple_of(8)) || (more && bytes.is_empty()) {
            return Err(Malformed::FragmentOverlap);
        }
        if self.pieces.get(&at).is_some_and(|old| old == bytes) {
            return Ok(0); // sent, or captured, twice
        }
        let before = self.pieces.range(..end).next_back();
        let overlaps = before.is_some_and(|(start, old)| start + old.len() as u32 > at || *start >= at);
        let contradicts = match self.total {
            Some(total) => end > total || !more,
            None => !more && self.pieces.last_key_value().is_some_and(|(start, old)| start + old.len() as u32 > end),
        };
        if overlaps || contradicts {
            return Err(Malformed::FragmentOverlap);
        }
        if !more {
            self.total = Some(end);
        }
        self.bytes += bytes.len() as u32;
        self.pieces.insert(at, bytes.to_vec());
        Ok(bytes.len())
    }

    fn whole(&self) -> bool {
        self.total == Some(self.bytes) // pieces do not overlap: as many bytes as it has are all of them
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(id: u32, at: u32, more: bool, bytes: &[u8]) -> Part<'static> {
        let ends = Ends { source: [1; 16], destination: [2; 16] };
        Part { ends, kind: PartKind::Fragment { id, protocol: 17, at, more }, bytes: bytes.to_vec().into() }
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_give_the_packet(
            body in prop::collection::vec(any::<u8>(), 1..2000),
            size in 1usize..20,
            shuffle in prop::collection::vec(any::<u64>(), 300),
        ) {
            let size = size * 8;
            let n = body.len().div_ceil(size);
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by_key(|index| shuffle[index % shuffle.len()]);
            let (mut fragments, mut report) = (Fragments::default(), Report::default());
            let mut got = None;
            for index in order {
                let chunk = &body[index * size..(index * size + size).min(body.len())];
                let piece = part(7, (index * size) as u32, index + 1 < n, chunk);
                prop_assert!(got.is_none());
                got = fragments.take(&piece, 0, 0, &mut report);
            }
            prop_assert_eq!(got.unwrap().2, body);
            prop_assert_eq!((fragments.bytes, fragments.waiting.len(), report.items), (0, 0, 0));
        }

        #[test]
        fn any_pieces_are_bounded_and_counted(
            pieces in prop::collection::vec((0u32..4, 0u32..40, any::<bool>(), 0usize..40), 0..200)
        ) {
            let (mut fragments, mut report) = (Fragments::default(), Report::default());
            for (id, at, more, length) in &pieces {
                let _ = fragments.take(&part(*id, at * 8, *more, &vec![0; *length]), 0, 0, &mut report);
            }
            fragments.finish(&mut report);
            prop_assert_eq!(fragments.bytes, 0);
            prop_assert_eq!(report.items, report.assembled);
        }
    }

    #[test]
    fn a_flood_of_first_pieces_does_not_grow_without_bound() {
        let (mut fragments, mut report) = (Fragments::default(), Report::default());
        for id in 0..20_000 {
            let _ = fragments.take(&part(id, 0, true, &[0; 1480]), 0, u64::from(id), &mut report);
            assert!(fragments.waiting.len() <= MAX_PACKETS);
        }
        fragments.finish(&mut report);
        assert_eq!(report.malformed[&Malformed::FragmentLost].count, 20_000);
    }

    #[test]
    fn a_packet_is_given_up_after_a_minute() {
        let (mut fragments, mut report) = (Fragments::default(), Report::default());
        assert!(fragments.take(&part(1, 0, true, &[0; 8]), 0, 0, &mut report).is_none());
        assert!(fragments.take(&part(1, 8, false, &[0; 8]), MAX_AGE_US + 1, 1, &mut report).is_none());
        assert_eq!(report.malformed[&Malformed::FragmentLost].count, 1);
    }
}
