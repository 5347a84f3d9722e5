//! Decode DNS captures and logs, and reduce them to sightings.
//!
//! The way of the data: `input` opens and unpacks a file, `chunks` cuts it into whole records on
//! one thread or several, a *format* (`pcap`, `pcapng`, `dnstap`, `zeek`…) yields
//! [`message::Message`]s over a [`source::Desk`], the [`reduce::Reducer`] folds them into
//! *sightings* and *activity*, `enrich` says where an address or a name belongs, and `rollup`
//! counts, name by name, what features are made of. No Python, no sockets and no clock in this
//! crate; untrusted bytes are only read through checked slices.

pub mod activity;
pub mod agents;
pub mod answers;
pub mod asking;
pub mod canonical;
pub mod capture;
pub mod chunks;
pub mod clients;
pub mod cof;
pub mod compose;
pub mod dnscollector;
pub mod dnsmonster;
pub mod dnstap;
pub mod enrich;
pub mod eve;
pub mod flows;
pub mod formats;
pub mod fragments;
pub mod frames;
pub mod input;
pub mod link;
pub mod logged;
pub mod meetings;
pub mod message;
pub mod name;
pub mod passivedns;
pub mod pcap;
pub mod pcapng;
mod pending;
pub mod pieces;
pub mod rdata;
pub mod rdtype;
pub mod reduce;
pub mod report;
pub mod rollup;
pub mod rows;
pub mod sightings;
pub mod source;
pub mod staying;
pub mod streams;
pub mod table;
pub mod text;
mod threads;
pub mod visits;
pub mod zeek;
