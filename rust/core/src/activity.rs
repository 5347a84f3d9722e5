//! The activity of one hour (how a name and type was answered): a log, and columns once it is closed.

use crate::link::Address;
use crate::reduce::{N_FAILURES, Vantage};
use crate::rows::{join, sort_by_owner};
use crate::table::NONE;

/// Clients kept per row: exact up to here, a bottom-k sample (KMV) beyond.
pub const MAX_CLIENTS: usize = 64;
/// Stands for "no failure".
const NO_FAILURE: u8 = u8::MAX;
/// Stands for "no fresh minute".
pub const NO_MINUTE: u8 = u8::MAX;

/// What one rrset of an answer, or one failure, adds to the activity of its name.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub owner: u32,
    /// Number of the client, or [`NONE`].
    pub client: u32,
    /// Records in the rrset.
    pub length: u32,
    pub rdtype: u16,
    pub vantage: Vantage,
    /// Bit of the fresh minute, or [`NO_MINUTE`].
    pub minute: u8,
    failure: u8,
    /// The response has changed this row already: it counts once.
    pub again: bool,
}

const BLANK: Change = Change {
    owner: 0,
    client: NONE,
    length: 0,
    rdtype: 0,
    vantage: Vantage::Unknown,
    minute: NO_MINUTE,
    failure: NO_FAILURE,
    again: false,
};

impl Change {
    pub fn answered(owner: u32, rdtype: u16, vantage: Vantage, client: u32, length: u32, minute: u8) -> Self {
        Change { owner, client, length, rdtype, vantage, minute, ..BLANK }
    }

    /// `kind` is a [`crate::reduce::Failure`] as a number.
    pub fn failed(owner: u32, rdtype: u16, vantage: Vantage, client: u32, kind: usize, again: bool) -> Self {
        Change { owner, client, rdtype, vantage, failure: kind as u8, again, ..BLANK }
    }

    fn key(&self) -> u64 {
        u64::from(self.rdtype) << 40 | (self.vantage as u64) << 32 | u64::from(self.client)
    }

    fn row(&self) -> (u32, u16, Vantage) {
        (self.owner, self.rdtype, self.vantage)
    }
}

/// The same address has the same hash in every process: samples of two sensors can be merged.
pub fn client_hash(address: &Address) -> u32 {
    let value = u128::from_be_bytes(*address);
    let mut mixed = (value as u64) ^ ((value >> 64) as u64).rotate_left(32);
    for multiplier in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(multiplier);
    }
    (mixed >> 32) as u32
}

/// One row while it is summed up.
#[derive(Default)]
pub struct Sum {
    pub responses: u64,
    pub fresh_minutes: u64,
    pub answers_sum: u64,
    pub answers_max: u32,
    pub failures: [u64; N_FAILURES],
    pub clients: Vec<u32>,
    /// There were more clients than are kept.
    pub sampled: bool,
}

impl Sum {
    fn clear(&mut self) {
        let mut clients = std::mem::take(&mut self.clients);
        clients.clear();
        *self = Sum { clients, ..Sum::default() };
    }

    fn add(&mut self, change: &Change) {
        if change.minute != NO_MINUTE {
            self.fresh_minutes |= 1 << change.minute;
        }
        self.answers_max = self.answers_max.max(change.length);
        if !change.again {
            self.responses += 1;
            self.answers_sum += u64::from(change.length);
        }
        if let Some(count) = self.failures.get_mut(usize::from(change.failure)) {
            *count += 1;
        }
        if change.client != NONE && self.clients.last() != Some(&change.client) {
            self.clients.push(change.client); // the log is in the order of clients: equal ones are neighbours
        }
    }

    fn merge(&mut self, columns: &Activities, place: usize) {
        self.responses = self.responses.saturating_add(columns.responses[place].unsigned_abs());
        self.fresh_minutes |= columns.fresh_minutes[place];
        self.answers_sum = self.answers_sum.saturating_add(columns.answers_sum[place].unsigned_abs());
        self.answers_max = self.answers_max.max(columns.answers_max[place]);
        for (sum, count) in self.failures.iter_mut().zip(columns.failures_of(place)) {
            *sum = sum.saturating_add(count);
        }
        self.clients.extend_from_slice(columns.clients_of(place));
        self.sampled |= columns.sampled[place];
    }

    /// Keep each client once, and of too many those with the smallest hash.
    fn settle(&mut self, addresses: &[Address]) {
        self.clients.sort_unstable();
        self.clients.dedup();
        if self.clients.len() > MAX_CLIENTS {
            self.clients.sort_by_cached_key(|id| (client_hash(&addresses[*id as usize]), *id));
            self.clients.truncate(MAX_CLIENTS);
            self.sampled = true;
        }
    }
}

/// Rows of a closed hour as columns; what is rare stands beside them.
#[derive(Clone, Debug, Default)]
pub struct Activities {
    pub owner: Vec<i32>,
    pub rdtype: Vec<u16>,
    /// [`Vantage`] as a number.
    pub vantage: Vec<i8>,
    pub responses: Vec<i64>,
    pub fresh_minutes: Vec<u64>,
    pub answers_sum: Vec<i64>,
    pub answers_max: Vec<u32>,
    /// Place in `failures`, or [`NONE`].
    failures_at: Vec<u32>,
    failures: Vec<[u64; N_FAILURES]>,
    /// Where the clients of each row end in `clients`.
    pub clients_end: Vec<i32>,
    pub clients: Vec<u32>,
    sampled: Vec<bool>,
}

impl Activities {
    pub fn len(&self) -> usize {
        self.owner.len()
    }

    pub fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    pub fn failures_of(&self, place: usize) -> [u64; N_FAILURES] {
        self.failures.get(self.failures_at[place] as usize).copied().unwrap_or_default()
    }

    /// Does any row have a failure?
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Numbers of the clients that are kept for a row.
    pub fn clients_of(&self, place: usize) -> &[u32] {
        let start = if place == 0 { 0 } else { self.clients_end[place - 1] };
        &self.clients[start as usize..self.clients_end[place] as usize]
    }

    /// Distinct clients: exact while few, else (k − 1) / (k-th smallest hash as a fraction).
    pub fn n_clients(&self, place: usize, addresses: &[Address]) -> u64 {
        let clients = self.clients_of(place);
        if !self.sampled[place] {
            return clients.len() as u64;
        }
        match clients.iter().map(|id| client_hash(&addresses[*id as usize])).max() {
            Some(largest) => {
                let fraction = (f64::from(largest) + 1.0) / 4_294_967_296.0;
                ((clients.len() - 1) as f64 / fraction).round() as u64
            }
            None => 0,
        }
    }

    /// Append a row.
    pub fn push(&mut self, owner: u32, rdtype: u16, vantage: Vantage, sum: &Sum) {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.owner.push(owner as i32);
        self.rdtype.push(rdtype);
        self.vantage.push(vantage as i8);
        self.responses.push(count(sum.responses));
        self.fresh_minutes.push(sum.fresh_minutes);
        self.answers_sum.push(count(sum.answers_sum));
        self.answers_max.push(sum.answers_max);
        if sum.failures == [0; N_FAILURES] {
            self.failures_at.push(NONE);
        } else {
            self.failures_at.push(self.failures.len() as u32);
            self.failures.push(sum.failures);
        }
        self.clients.extend_from_slice(&sum.clients);
        self.clients_end.push(i32::try_from(self.clients.len()).expect("fewer than 2^31 clients are kept in an hour"));
        self.sampled.push(sum.sampled);
    }

    /// Empty a log into columns, in the order of owner, type and vantage.
    pub fn close(log: &mut Vec<Change>, scratch: &mut Vec<Change>, n_names: usize, addresses: &[Address]) -> Self {
        sort_by_owner(log, scratch, n_names, BLANK, |change| change.owner, Change::key);
        let (mut columns, mut sum) = (Activities::default(), Sum::default());
        columns.reserve(log.chunk_by(|a, b| a.row() == b.row()).count());
        for run in log.chunk_by(|a, b| a.row() == b.row()) {
            sum.clear();
            run.iter().for_each(|change| sum.add(change));
            if sum.clients.len() > MAX_CLIENTS {
                sum.settle(addresses);
            }
            columns.push(run[0].owner, run[0].rdtype, run[0].vantage, &sum);
        }
        log.clear();
        columns.clients.shrink_to_fit();
        columns
    }

    fn reserve(&mut self, n: usize) {
        self.owner.reserve_exact(n);
        self.rdtype.reserve_exact(n);
        self.vantage.reserve_exact(n);
        self.responses.reserve_exact(n);
        self.fresh_minutes.reserve_exact(n);
        self.answers_sum.reserve_exact(n);
        self.answers_max.reserve_exact(n);
        self.failures_at.reserve_exact(n);
        self.clients_end.reserve_exact(n);
        self.sampled.reserve_exact(n);
    }

    /// Rows of the same hour about other owners.
    pub fn append(&mut self, mut other: Activities) {
        let n_failures = self.failures.len() as u32;
        other.failures_at.iter_mut().filter(|at| **at != NONE).for_each(|at| *at += n_failures);
        let n_clients = self.clients.len() as i32;
        other.clients_end.iter_mut().for_each(|end| *end += n_clients); // overflow is checked
        join(&mut self.owner, other.owner);
        join(&mut self.rdtype, other.rdtype);
        join(&mut self.vantage, other.vantage);
        join(&mut self.responses, other.responses);
        join(&mut self.fresh_minutes, other.fresh_minutes);
        join(&mut self.answers_sum, other.answers_sum);
        join(&mut self.answers_max, other.answers_max);
        join(&mut self.failures_at, other.failures_at);
        join(&mut self.failures, other.failures);
        join(&mut self.clients_end, other.clients_end);
        join(&mut self.clients, other.clients);
        join(&mut self.sampled, other.sampled);
    }

    /// Put another worker's numbers in terms of ours: the order is lost.
    pub fn renumber(&mut self, names: &[u32], clients: &[u32]) {
        self.owner.iter_mut().for_each(|owner| *owner = names[*owner as usize] as i32);
        self.clients.iter_mut().for_each(|id| *id = clients[*id as usize]);
    }

    /// Several pieces of one hour as one, in order.
    pub fn merged(pieces: &[&Activities], addresses: &[Address]) -> Self {
        let mut rows: Vec<(u64, u32, u32)> = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for (number, piece) in pieces.iter().enumerate() {
            rows.extend((0..piece.len()).map(|place| {
                let key = u64::from(piece.rdtype[place]) << 8 | piece.vantage[place] as u64;
                (u64::from(piece.owner[place] as u32) << 32 | key, number as u32, place as u32)
            }));
        }
        rows.sort_unstable();
        let (mut columns, mut sum) = (Activities::default(), Sum::default());
        columns.reserve(rows.chunk_by(|a, b| a.0 == b.0).count());
        for run in rows.chunk_by(|a, b| a.0 == b.0) {
            sum.clear();
            run.iter().for_each(|(_, piece, place)| sum.merge(pieces[*piece as usize], *place as usize));
            sum.settle(addresses);
            let (key, piece, place) = run[0];
            let (piece, place) = (pieces[piece as usize], place as usize);
            columns.push((key >> 32) as u32, piece.rdtype[place], Vantage::ALL[piece.vantage[place] as usize], &sum);
        }
        columns
    }
}
