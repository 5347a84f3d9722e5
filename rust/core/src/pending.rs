//! Responses on their way into the tables, and the dealing of them among threads.

use std::sync::mpsc::{Receiver, Sender};

use crate::link::Address;
use crate::message::{Message, Rdata, Record, Section};
use crate::rdtype;
use crate::reduce::{Failure, Seen, Sighting, Vantage};
use crate::table::{CANONICAL, NONE, TEXT, Tables};

/// What is known of a response beside its message.
pub struct Envelope {
    pub ts_us: i64,
    pub client: Option<Address>,
    pub vantage: Vantage,
}

/// Responses on their way into the tables: small enough to stay in the cache.
#[derive(Default)]
pub struct Pending {
    pub arena: Vec<u8>,
    /// Start and length in the arena, and hash.
    pub names: Vec<(u32, u32, u32)>,
    /// The same of rdata that is neither an address nor a name, and whether it is text.
    pub rdata: Vec<(u32, u32, u32, bool)>,
    pub records: Vec<PendingRecord>,
    pub responses: Vec<Response>,
    pub clients: Vec<(u32, Address)>,
    pub sightings: Vec<PendingSighting>,
}

/// A row that somebody reduced before, in [`Pending`].
#[derive(Clone, Copy)]
pub struct PendingSighting {
    pub owner: u32,
    pub rdtype: u16,
    pub rdata: PendingRdata,
    pub vantage: Vantage,
    pub fresh_minutes: u64,
    pub ttl_max: u32,
    pub ttl_min: u32,
    pub hour: i64,
    pub seen: Seen,
}

/// A record in [`Pending`].
#[derive(Clone, Copy)]
pub struct PendingRecord {
    pub section: Section,
    pub rdtype: u16,
    pub owner: u32,
    pub ttl: u32,
    pub rdata: PendingRdata,
}

#[derive(Clone, Copy)]
pub enum PendingRdata {
    A(u32),
    /// Place in [`Pending::names`].
    Name(u32),
    /// Place in [`Pending::rdata`].
    Other(u32),
}

/// A response in [`Pending`]; its records end at `records_end`.
pub struct Response {
    pub ts_us: i64,
    /// Place in [`Pending::clients`], or [`NONE`].
    pub client: u32,
    pub records_end: u32,
    /// Name and type of the question that failed.
    pub failed: Option<(u32, u16, Failure)>,
    pub vantage: Vantage,
}

/// Pending bytes of names and rdata at which they are worked in.
pub const PENDING_BYTES: usize = 32 << 10;

impl Pending {
    /// Bytes of names and rdata.
    pub fn n_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Take in a response.
    pub fn push(&mut self, message: &Message, envelope: &Envelope, tables: &Tables) {
        let base = self.push_names(message, tables);
        for record in &message.records {
            let rdata = match record.rdata {
                Rdata::Name(index) => PendingRdata::Name(base + index),
                _ => self.push_own(message, record, tables),
            };
            self.push_record(record, base + record.owner, rdata);
        }
        let failed =
            message.question.zip(failure_of(message)).map(|((qname, qtype), failure)| (base + qname, qtype, failure));
        self.end_response(envelope, failed, tables);
    }

    /// Take in a row that somebody reduced before; names and bytes of `message` hold its rdata.
    pub fn push_sighting(&mut self, message: &Message, sighting: &Sighting, tables: &Tables) {
        let Sighting { owner, rdtype, rdata, hour, seen, fresh_minutes, ttl, vantage } = *sighting;
        let base = self.push_names(message, tables);
        let rdata = match rdata {
            Rdata::A(address) => PendingRdata::A(address),
            Rdata::Name(index) => PendingRdata::Name(base + index),
            Rdata::Bytes(span) => self.push_rdata(CANONICAL, rdtype, message.bytes(span), tables),
            Rdata::Text(span) => self.push_rdata(TEXT, rdtype, message.bytes(span), tables),
        };
        let (ttl_max, ttl_min) = ttl.unwrap_or((0, u32::MAX));
        let owner = base + owner;
        self.sightings.push(PendingSighting {
            owner,
            rdtype,
            rdata,
            vantage,
            fresh_minutes,
            ttl_max,
            ttl_min,
            hour,
            seen,
        });
    }

    /// Take in the names of a message; returns the place of its first one.
    pub fn push_names(&mut self, message: &Message, tables: &Tables) -> u32 {
        let (shift, base) = (self.arena.len() as u32, self.names.len() as u32);
        self.arena.extend_from_slice(message.arena());
        for index in 0..message.n_names() as u32 {
            let span = message.name_span(index);
            self.names.push((shift + span.start, span.len, tables.names.hash(message.bytes(span))));
        }
        base
    }

    /// Take in one name; returns its place.
    fn push_name(&mut self, name: &[u8], hash: u32) -> u32 {
        self.names.push((self.arena.len() as u32, name.len() as u32, hash));
        self.arena.extend_from_slice(name);
        self.names.len() as u32 - 1
    }

    fn push_record(&mut self, record: &Record, owner: u32, rdata: PendingRdata) {
        let Record { section, rdtype, ttl, .. } = *record;
        self.records.push(PendingRecord { section, rdtype, owner, ttl, rdata });
    }

    /// The rdata of a record, unless it is a name.
    fn push_own(&mut self, message: &Message, record: &Record, tables: &Tables) -> PendingRdata {
        match record.rdata {
            Rdata::A(address) => PendingRdata::A(address),
            Rdata::Name(index) => PendingRdata::Name(index),
            Rdata::Bytes(span) => self.push_rdata(CANONICAL, record.rdtype, message.bytes(span), tables),
            Rdata::Text(span) => self.push_rdata(TEXT, record.rdtype, message.bytes(span), tables),
        }
    }

    pub fn push_rdata(&mut self, kind: u8, rdtype: u16, bytes: &[u8], tables: &Tables) -> PendingRdata {
        let start = self.arena.len();
        self.arena.push(kind);
        self.arena.extend_from_slice(&rdtype.to_be_bytes());
        self.arena.extend_from_slice(bytes);
        let hash = tables.bytes.hash(&self.arena[start..]);
        self.rdata.push((start as u32, (self.arena.len() - start) as u32, hash, kind == TEXT));
        PendingRdata::Other(self.rdata.len() as u32 - 1)
    }

    /// The records behind those of the last response are one more.
    fn end_response(&mut self, envelope: &Envelope, failed: Option<(u32, u16, Failure)>, tables: &Tables) {
        let from = self.responses.last().map_or(0, |last| last.records_end as usize);
        let is_asked = failed.is_some() || self.records[from..].iter().any(|one| one.section == Section::Answer);
        let client = envelope.client.filter(|_| is_asked).map_or(NONE, |address| {
            self.clients.push((tables.client_hash(&address), address));
            self.clients.len() as u32 - 1
        });
        let records_end = self.records.len() as u32;
        let Envelope { ts_us, vantage, .. } = *envelope;
        self.responses.push(Response { ts_us, client, records_end, failed, vantage });
    }

    pub fn clear(&mut self) {
        self.arena.clear();
        self.names.clear();
        self.rdata.clear();
        self.records.clear();
        self.responses.clear();
        self.clients.clear();
        self.sightings.clear();
    }
}

/// What others dealt to a reducer.
pub struct Inbox(pub Receiver<Pending>);

/// Deals responses to several reducers: a record goes where the hash of its owner says. So each
/// name is at home in one of them, and nothing has to be merged afterwards.
pub struct Deal {
    /// Which of the parts is ours, if any.
    own: Option<usize>,
    parts: Vec<Pending>,
    to: Vec<Sender<Pending>>,
    /// Emptied ones, for what is dealt next.
    spare: Vec<Pending>,
    /// Of the message at hand: hash of each name, and its place in each part.
    hashes: Vec<u32>,
    places: Vec<u32>,
}

impl Deal {
    /// `to` leads to the reducers, by part.
    pub fn new(own: Option<usize>, to: &[Sender<Pending>]) -> Self {
        Deal {
            own,
            parts: to.iter().map(|_| Pending::default()).collect(),
            to: to.to_vec(),
            spare: Vec::new(),
            hashes: Vec::new(),
            places: Vec::new(),
        }
    }

    /// The upper bits of a hash: tables use the lower ones.
    fn part_of(&self, name: u32) -> usize {
        ((u64::from(self.hashes[name as usize]) * self.parts.len() as u64) >> 32) as usize
    }

    /// Deal the records of a response.
    pub fn push(&mut self, message: &Message, envelope: &Envelope, tables: &Tables) {
        let n_names = message.n_names();
        self.hashes.clear();
        self.hashes.extend((0..n_names as u32).map(|index| tables.names.hash(message.name(index))));
        self.places.clear();
        self.places.resize(n_names * self.parts.len(), NONE);
        for record in &message.records {
            let part = self.part_of(record.owner);
            let owner = self.place(message, part, record.owner);
            let rdata = match record.rdata {
                Rdata::Name(index) => PendingRdata::Name(self.place(message, part, index)),
                _ => self.parts[part].push_own(message, record, tables),
            };
            self.parts[part].push_record(record, owner, rdata);
        }
        let failed = message.question.zip(failure_of(message)).map(|((qname, qtype), failure)| {
            let part = self.part_of(qname);
            (part, (self.place(message, part, qname), qtype, failure))
        });
        for (number, part) in self.parts.iter_mut().enumerate() {
            let failed = failed.filter(|(part, _)| *part == number).map(|(_, failed)| failed);
            let from = part.responses.last().map_or(0, |last| last.records_end as usize);
            if failed.is_some() || part.records.len() > from {
                part.end_response(envelope, failed, tables);
            }
        }
    }

    /// The place of a name of the message in a part: it is brought there once.
    fn place(&mut self, message: &Message, part: usize, name: u32) -> u32 {
        let known = &mut self.places[part * self.hashes.len() + name as usize];
        if *known == NONE {
            *known = self.parts[part].push_name(message.name(name), self.hashes[name as usize]);
        }
        *known
    }

    /// Hand on the parts with at least `n_bytes`; our own goes to `work`.
    pub fn pass_on(&mut self, n_bytes: usize, mut work: impl FnMut(&mut Pending)) {
        for (number, part) in self.parts.iter_mut().enumerate() {
            if part.responses.is_empty() || part.n_bytes() < n_bytes {
                continue;
            }
            if self.own == Some(number) {
                work(part);
            } else {
                let full = std::mem::replace(part, self.spare.pop().unwrap_or_default());
                // Who does not take it any more has panicked, and its thread says so.
                let _ = self.to[number].send(full);
            }
        }
    }

    /// Take back what something came in.
    pub fn give_back(&mut self, emptied: Pending) {
        if self.spare.len() < 2 * self.parts.len() {
            self.spare.push(emptied);
        }
    }
}

fn failure_of(message: &Message) -> Option<Failure> {
    match message.rcode {
        0 => {
            let has = |section| message.records.iter().any(|record| record.section == section);
            let referral = message
                .records
                .iter()
                .any(|record| record.section == Section::Authority && record.rdtype == rdtype::NS);
            (!has(Section::Answer) && !referral && !message.truncated).then_some(Failure::NoData)
        }
        2 => Some(Failure::ServFail),
        3 => Some(Failure::NxDomain),
        5 => Some(Failure::Refused),
        _ => Some(Failure::Other),
    }
}
