//! The answers table: one row per resource record of one response, as Arrow record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{
    StringBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow_schema::ArrowError;

use crate::clients::Clients;
use crate::link::UNKNOWN_ADDRESS;
use crate::message::{Message, Rdata, Record, Section};
use crate::name;
use crate::rdata;
use crate::rdtype::{rcode_code, rcode_text, rdtype_code, rdtype_text};
use crate::reduce::Vantage;
use crate::report::{Malformed, Report};
use crate::sightings::rdata_from_text;
use crate::source::{Seen, Sink};
use crate::text;

/// Rows per batch: enough for Arrow to be quick, few enough to stay below some ten megabytes.
const BATCH_ROWS: usize = 1 << 16;

type Words = StringDictionaryBuilder<UInt16Type>;

/// Builds the table; full batches are handed to `out`.
pub struct Answers<F: FnMut(RecordBatch)> {
    out: F,
    rows: usize,
    response: u64,
    policy: Clients,
    ts: TimestampMicrosecondBuilder,
    sensor: Words,
    client: StringBuilder,
    server: StringBuilder,
    vantage: Words,
    responses: UInt64Builder,
    qname: StringBuilder,
    qtype: Words,
    rcode: Words,
    section: Words,
    owner: StringBuilder,
    rdtype: Words,
    ttl: UInt32Builder,
    rdata: StringBuilder,
}

impl<F: FnMut(RecordBatch)> Answers<F> {
    /// Responses are numbered on from `first_response`, so that several files keep them apart.
    pub fn new(first_response: u64, policy: Clients, out: F) -> Self {
        Answers {
            out,
            rows: 0,
            response: first_response,
            policy,
            ts: TimestampMicrosecondBuilder::new(),
            sensor: Words::new(),
            client: StringBuilder::new(),
            server: StringBuilder::new(),
            vantage: Words::new(),
            responses: UInt64Builder::new(),
            qname: StringBuilder::new(),
            qtype: Words::new(),
            rcode: Words::new(),
            section: Words::new(),
            owner: StringBuilder::new(),
            rdtype: Words::new(),
            ttl: UInt32Builder::new(),
            rdata: StringBuilder::new(),
        }
    }

    /// Hand over the last, partly filled batch; returns the number of the next response.
    ///
    /// # Errors
    /// When Arrow refuses the batch, which would be a fault of this crate.
    pub fn finish(mut self) -> Result<u64, ArrowError> {
        self.flush()?;
        Ok(self.response)
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        let columns: [(&str, ArrayRef, bool); 14] = [
            ("ts", Arc::new(self.ts.finish().with_timezone("UTC")), false),
            ("sensor", Arc::new(self.sensor.finish()), true),
            ("client", Arc::new(self.client.finish()), true),
            ("server", Arc::new(self.server.finish()), true),
            ("vantage", Arc::new(self.vantage.finish()), false),
            ("response", Arc::new(self.responses.finish()), false),
            ("qname", Arc::new(self.qname.finish()), true),
            ("qtype", Arc::new(self.qtype.finish()), true),
            ("rcode", Arc::new(self.rcode.finish()), false),
            ("section", Arc::new(self.section.finish()), true),
            ("owner", Arc::new(self.owner.finish()), true),
            ("rdtype", Arc::new(self.rdtype.finish()), true),
            ("ttl", Arc::new(self.ttl.finish()), true),
            ("rdata", Arc::new(self.rdata.finish()), true),
        ];
        self.rows = 0;
        (self.out)(RecordBatch::try_from_iter_with_nullable(columns)?);
        Ok(())
    }

    fn head(&mut self, message: &Message, seen: &Seen<'_>) {
        let Seen { ts_us, client, server, vantage, sensor } = *seen;
        self.ts.append_value(ts_us);
        self.sensor.append_option(sensor);
        let client = Some(client).filter(|client| *client != UNKNOWN_ADDRESS);
        self.client.append_option(client.and_then(|client| self.policy.admit(client)).as_ref().map(text::address));
        self.server.append_option(Some(&server).filter(|server| **server != UNKNOWN_ADDRESS).map(text::address));
        self.vantage.append_value(vantage.name());
        self.responses.append_value(self.response);
        self.qname.append_option(message.question.map(|(qname, _)| present(message.name(qname))));
        self.qtype.append_option(message.question.map(|(_, qtype)| rdtype_text(qtype)));
        self.rcode.append_value(rcode_text(message.rcode));
        self.rows += 1;
    }

    fn record(&mut self, message: &Message, record: &Record) {
        self.section.append_value(record.section.name());
        self.owner.append_value(present(message.name(record.owner)));
        self.rdtype.append_value(rdtype_text(record.rdtype));
        self.ttl.append_value(record.ttl);
        self.rdata.append_value(rdata_text(message, record));
    }

    fn no_record(&mut self) {
        self.section.append_null();
        self.owner.append_null();
        self.rdtype.append_null();
        self.ttl.append_null();
        self.rdata.append_null();
    }
}

impl<F: FnMut(RecordBatch)> Sink for Answers<F> {
    fn response(&mut self, message: &Message, seen: &Seen<'_>) {
        for record in &message.records {
            self.head(message, seen);
            self.record(message, record);
        }
        if message.records.is_empty() {
            self.head(message, seen);
            self.no_record();
        }
        self.response += 1;
        if self.rows >= BATCH_ROWS {
            self.flush().expect("columns of equal length and known types");
        }
    }
}

fn present(wire: &[u8]) -> String {
    let mut out = String::new();
    name::present(wire, &mut out);
    out
}

fn rdata_text(message: &Message, record: &Record) -> String {
    let mut out = String::new();
    match record.rdata {
        Rdata::A(address) => rdata::present_a(address, &mut out),
        Rdata::Name(index) => name::present(message.name(index), &mut out),
        Rdata::Bytes(span) => rdata::present(record.rdtype, message.bytes(span), &mut out),
        Rdata::Text(span) => out.push_str(&String::from_utf8_lossy(message.bytes(span))),
    }
    out
}

/// Feed a batch of the answers table to a sink: rows with the same `response`, standing together
/// in one batch, are one response. For saved answers, and for sources written in Python.
///
/// # Errors
/// A sentence when a column is missing or of another type.
pub fn import<S: Sink>(batch: &RecordBatch, sink: &mut S, report: &mut Report) -> Result<(), String> {
    let rows = Rows::new(batch)?;
    let mut message = Message::default();
    let mut start = 0;
    while start < batch.num_rows() {
        let response = rows.response.value(start);
        let end =
            (start..batch.num_rows()).find(|row| rows.response.value(*row) != response).unwrap_or(batch.num_rows());
        match rows.message(start..end, &mut message) {
            Some(seen) => {
                sink.response(&message, &seen);
                report.decoded(seen.ts_us, message.records.len() as u64);
            }
            None => report.malformed(Malformed::BadField, report.items + 1),
        }
        start = end;
    }
    Ok(())
}

/// The columns of an answers batch, as plain strings and numbers.
struct Rows<'a> {
    ts: &'a TimestampMicrosecondArray,
    response: &'a UInt64Array,
    ttl: &'a UInt32Array,
    sensor: &'a StringArray,
    client: &'a StringArray,
    server: &'a StringArray,
    vantage: &'a StringArray,
    qname: &'a StringArray,
    qtype: &'a StringArray,
    rcode: &'a StringArray,
    section: &'a StringArray,
    owner: &'a StringArray,
    rdtype: &'a StringArray,
    rdata: &'a StringArray,
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
        let wrong = |name: &str| format!("column {name} has the wrong type");
        let words = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| wrong(name));
        Ok(Rows {
            ts: column("ts")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| wrong("ts"))?,
            response: column("response")?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong("response"))?,
            ttl: column("ttl")?.as_primitive_opt::<UInt32Type>().ok_or_else(|| wrong("ttl"))?,
            sensor: words("sensor")?,
            client: words("client")?,
            server: words("server")?,
            vantage: words("vantage")?,
            qname: words("qname")?,
            qtype: words("qtype")?,
            rcode: words("rcode")?,
            section: words("section")?,
            owner: words("owner")?,
            rdtype: words("rdtype")?,
            rdata: words("rdata")?,
        })
    }

    fn message(&self, rows: Range<usize>, message: &mut Message) -> Option<Seen<'a>> {
        let first = rows.start;
        message.clear();
        text::in_calendar(self.ts.value(first))?;
        message.rcode = rcode_code(self.rcode.value(first))?;
        if self.qname.is_valid(first) {
            message.question =
                Some((message.add_name(self.qname.value(first)).ok()?, rdtype_code(self.qtype.value(first))?));
        }
        for row in rows.filter(|row| self.owner.is_valid(*row)) {
            let section = Section::ALL.into_iter().find(|section| section.name() == self.section.value(row))?;
            let owner = message.add_name(self.owner.value(row)).ok()?;
            let rdtype = rdtype_code(self.rdtype.value(row))?;
            let rdata = rdata_from_text(message, rdtype, self.rdata.value(row)).ok()?;
            message.records.push(Record { section, owner, rdtype, ttl: self.ttl.value(row), rdata });
        }
        let address = |column: &StringArray| match column.is_valid(first) {
            true => text::parse_address(column.value(first)),
            false => Some(UNKNOWN_ADDRESS),
        };
        Some(Seen {
            ts_us: self.ts.value(first),
            client: address(self.client)?,
            server: address(self.server)?,
            vantage: Vantage::from_name(self.vantage.value(first))?,
            sensor: self.sensor.is_valid(first).then(|| self.sensor.value(first)),
        })
    }
}
