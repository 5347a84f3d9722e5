//! Decode DNS captures and logs, and reduce them to sightings.
//!
//! The way of the data: a *source* (`pcap`, `zeek`, `cof`) yields [`message::Message`]s, the
//! [`reduce::Reducer`] folds them into *sightings* and *activity*, `enrich` says where an address
//! or a name belongs, and `rollup` counts, name by name, what features are made of. No Python, no sockets and
//! no clock in this crate; untrusted bytes are only read through checked slices.

pub mod answers;
pub mod cof;
pub mod enrich;
pub mod link;
pub mod message;
pub mod name;
pub mod pcap;
pub mod rdata;
pub mod rdtype;
pub mod reduce;
pub mod report;
pub mod rollup;
pub mod sightings;
pub mod table;
pub mod text;
pub mod zeek;
