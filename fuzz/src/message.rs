//! A DNS message: it is decoded whole or refused, and what was decoded can be written and read.

#![no_main]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt16Type;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use libfuzzer_sys::fuzz_target;
use unflux_core::answers::{self, Answers};
use unflux_core::clients::Clients;
use unflux_core::message::Message;
use unflux_core::reduce::{Reducer, Vantage};
use unflux_core::report::Report;
use unflux_core::source::{Seen, Sink};

fuzz_target!(|wire: &[u8]| {
    let mut message = Message::default();
    if message.parse(wire).is_err() {
        return;
    }
    // Compression makes a message shorter than what it says, but not without limit: a pointer of
    // two bytes stands for at most 255.
    assert!(message.arena().len() <= 255 * (wire.len() + 1));
    let seen = Seen {
        ts_us: 1,
        client: [1; 16],
        server: [2; 16],
        vantage: Vantage::Unknown,
        sensor: None,
    };
    let mut batches = Vec::new();
    let mut table = Answers::new(0, Clients::Keep, |batch| batches.push(batch));
    table.response(&message, &seen);
    table.finish().expect("a table");
    // What was written as text is read back as the same number of records.
    let (mut reducer, mut report) = (Reducer::default(), Report::default());
    for batch in &batches {
        answers::import(&unpack(batch), &mut reducer, &mut report).expect("our own columns");
    }
    assert_eq!(
        (report.decoded, report.records),
        (1, message.records.len() as u64)
    );
});

/// Dictionaries as plain strings, as the table on disk has them.
fn unpack(batch: &RecordBatch) -> RecordBatch {
    let plain = |column: &ArrayRef| match column.as_dictionary_opt::<UInt16Type>() {
        Some(words) => {
            let words = words.downcast_dict::<StringArray>().expect("strings");
            Arc::new(words.into_iter().collect::<StringArray>()) as ArrayRef
        }
        None => column.clone(),
    };
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| (field.name(), plain(column), true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}
