//! The answers table: one row per resource record of one response, as Arrow record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{
    StringBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::ArrowError;

use crate::clients::Clients;
use crate::link::{Address, UNKNOWN_ADDRESS};
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
/// Texts are plain or dictionaries; an entry of a dictionary is taken apart once, however many rows
/// have it.
///
/// # Errors
/// A sentence when a column is missing or of another type.
pub fn import<S: Sink>(batch: &RecordBatch, sink: &mut S, report: &mut Report) -> Result<(), String> {
    let mut rows = Rows::new(batch)?;
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

/// A column of texts, or of numbers of texts.
#[derive(Clone, Copy)]
struct Texts<'a> {
    keys: Option<&'a Int32Array>,
    values: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn new(array: &'a ArrayRef) -> Option<Self> {
        match array.as_dictionary_opt::<Int32Type>() {
            Some(words) => Some(Texts { keys: Some(words.keys()), values: words.values().as_string_opt::<i32>()? }),
            None => Some(Texts { keys: None, values: array.as_string_opt::<i32>()? }),
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        self.keys.map_or_else(|| self.values.is_valid(row), |keys| keys.is_valid(row))
    }

    /// The place of a row's text among the values; None when its number is out of range.
    fn place(&self, row: usize) -> Option<usize> {
        let Some(keys) = self.keys else { return Some(row) };
        usize::try_from(keys.value(row)).ok().filter(|place| *place < self.values.len())
    }

    fn value(&self, row: usize) -> Option<&'a str> {
        self.place(row).map(|place| self.values.value(place))
    }
}

/// A column of texts that stand for something, such as an address; the same for the same text.
struct Codes<'a, T> {
    texts: Texts<'a>,
    read: fn(&str) -> Option<T>,
    /// Of a dictionary, by place.
    known: Vec<Option<T>>,
}

impl<'a, T: Copy> Codes<'a, T> {
    fn new(texts: Texts<'a>, read: fn(&str) -> Option<T>) -> Self {
        let entries = texts.keys.map(|_| texts.values.iter().map(|text| read(text?)).collect());
        Codes { texts, read, known: entries.unwrap_or_default() }
    }

    fn get(&self, row: usize) -> Option<T> {
        match self.texts.keys {
            Some(_) => self.known[self.texts.place(row)?],
            None => (self.read)(self.texts.value(row)?),
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        self.texts.is_valid(row)
    }
}

/// A column of domain names.
struct Names<'a> {
    texts: Texts<'a>,
    /// Holds the entries of a dictionary.
    wire: Message,
    known: Vec<Option<u32>>,
}

impl<'a> Names<'a> {
    fn new(texts: Texts<'a>) -> Self {
        let mut wire = Message::default();
        let entries = texts.keys.map(|_| texts.values.iter().map(|text| wire.add_name(text?).ok()).collect());
        Names { texts, known: entries.unwrap_or_default(), wire }
    }

    fn add(&self, row: usize, message: &mut Message) -> Option<u32> {
        match self.texts.keys {
            Some(_) => Some(message.add_wire_name(self.wire.name(self.known[self.texts.place(row)?]?))),
            None => message.add_name(self.texts.value(row)?).ok(),
        }
    }
}

/// The column of rdata, whose texts mean something only with their type.
struct Rdatas<'a> {
    texts: Texts<'a>,
    wire: Message,
    /// Of a dictionary, by place: type and rdata when it was last met.
    known: Vec<Option<(u16, Rdata)>>,
}

impl<'a> Rdatas<'a> {
    fn new(texts: Texts<'a>) -> Self {
        let n = texts.keys.map_or(0, |_| texts.values.len());
        Rdatas { texts, wire: Message::default(), known: vec![None; n] }
    }

    fn add(&mut self, row: usize, rdtype: u16, message: &mut Message) -> Option<Rdata> {
        let place = self.texts.place(row)?;
        let text = self.texts.values.value(place);
        if self.texts.keys.is_none() {
            return rdata_from_text(message, rdtype, text).ok();
        }
        let rdata = match self.known[place] {
            Some((known, rdata)) if known == rdtype => rdata,
            _ => rdata_from_text(&mut self.wire, rdtype, text).ok()?,
        };
        self.known[place] = Some((rdtype, rdata));
        Some(match rdata {
            Rdata::A(address) => Rdata::A(address),
            Rdata::Name(index) => Rdata::Name(message.add_wire_name(self.wire.name(index))),
            Rdata::Bytes(span) => Rdata::Bytes(message.add_bytes(self.wire.bytes(span))),
            Rdata::Text(span) => Rdata::Text(message.add_bytes(self.wire.bytes(span))),
        })
    }
}

/// The columns of an answers batch.
struct Rows<'a> {
    ts: &'a TimestampMicrosecondArray,
    response: &'a UInt64Array,
    ttl: &'a UInt32Array,
    sensor: Texts<'a>,
    client: Codes<'a, Address>,
    server: Codes<'a, Address>,
    vantage: Codes<'a, Vantage>,
    qname: Names<'a>,
    qtype: Codes<'a, u16>,
    rcode: Codes<'a, u16>,
    section: Codes<'a, Section>,
    owner: Names<'a>,
    rdtype: Codes<'a, u16>,
    rdata: Rdatas<'a>,
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
        let wrong = |name: &str| format!("column {name} has the wrong type");
        let texts = |name: &str| Texts::new(column(name)?).ok_or_else(|| wrong(name));
        let section = |text: &str| Section::ALL.into_iter().find(|section| section.name() == text);
        Ok(Rows {
            ts: column("ts")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| wrong("ts"))?,
            response: column("response")?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong("response"))?,
            ttl: column("ttl")?.as_primitive_opt::<UInt32Type>().ok_or_else(|| wrong("ttl"))?,
            sensor: texts("sensor")?,
            client: Codes::new(texts("client")?, text::parse_address),
            server: Codes::new(texts("server")?, text::parse_address),
            vantage: Codes::new(texts("vantage")?, Vantage::from_name),
            qname: Names::new(texts("qname")?),
            qtype: Codes::new(texts("qtype")?, rdtype_code),
            rcode: Codes::new(texts("rcode")?, rcode_code),
            section: Codes::new(texts("section")?, section),
            owner: Names::new(texts("owner")?),
            rdtype: Codes::new(texts("rdtype")?, rdtype_code),
            rdata: Rdatas::new(texts("rdata")?),
        })
    }

    fn message(&mut self, rows: Range<usize>, message: &mut Message) -> Option<Seen<'a>> {
        let first = rows.start;
        message.clear();
        text::in_calendar(self.ts.value(first))?;
        message.rcode = self.rcode.get(first)?;
        if self.qname.texts.is_valid(first) {
            message.question = Some((self.qname.add(first, message)?, self.qtype.get(first)?));
        }
        for row in rows {
            if !self.owner.texts.is_valid(row) {
                continue;
            }
            let section = self.section.get(row)?;
            let owner = self.owner.add(row, message)?;
            let rdtype = self.rdtype.get(row)?;
            let rdata = self.rdata.add(row, rdtype, message)?;
            message.records.push(Record { section, owner, rdtype, ttl: self.ttl.value(row), rdata });
        }
        let address = |column: &Codes<'a, Address>| match column.is_valid(first) {
            true => column.get(first),
            false => Some(UNKNOWN_ADDRESS),
        };
        Some(Seen {
            ts_us: self.ts.value(first),
            client: address(&self.client)?,
            server: address(&self.server)?,
            vantage: self.vantage.get(first)?,
            sensor: if self.sensor.is_valid(first) { Some(self.sensor.value(first)?) } else { None },
        })
    }
}
