//! Sightings and activity as Arrow record batches, out of a reducer and back into one.
//!
//! Batches (one per hour) share their dictionaries, so numbers are comparable across batches. Columns
//! that follow from others are left to whoever needs them, because they would cost up to 16 bytes a
//! row: `bucket` of sightings is the hour of `time_first`; `count` (of activity: `fresh_responses`)
//! is `count_raw` (`responses`) for the vantages `upstream` and `history`, else the number of bits
//! set in `fresh_minutes`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field};

use crate::activity::Activities;
use crate::link::Address;
use crate::message::{Message, Rdata};
use crate::name;
use crate::rdtype::{self, rdtype_code, rdtype_text};
use crate::reduce::{Bucket, FAILURE_NAMES, HOUR_US, N_FAILURES, Reducer, SavedActivity, Seen, Sighting, Vantage};
use crate::report::{Malformed, Report};
use crate::rows::Rows;
use crate::table::Tables;
use crate::text::{self, in_calendar};
use crate::threads::side_by_side;

/// What a reducer gives: the two tables, and what the numbers in their dictionaries stand for.
pub struct Reduced {
    pub sightings: Vec<RecordBatch>,
    pub activity: Vec<RecordBatch>,
    pub tables: Tables,
}

/// Turn the reducer into record batches on `threads` threads, giving memory back on the way.
///
/// # Errors
/// When Arrow refuses a batch, which would be a fault of this crate.
pub fn export(reducer: Reducer, threads: usize) -> Result<Reduced, ArrowError> {
    let (mut buckets, tables) = reducer.finish(threads);
    if buckets.is_empty() {
        buckets.push(Bucket::default()); // the columns must be there even when no row is
    }
    let dictionaries = Dictionaries::new(&buckets, &tables);
    let batches = side_by_side(threads, buckets.into_iter(), |Bucket { hour, rows, activity }| {
        let activity = activity_batch(hour, activity, &dictionaries, tables.clients())?;
        Ok((sightings_batch(rows, &dictionaries)?, activity))
    });
    let (sightings, activity) = batches.into_iter().collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    Ok(Reduced { sightings, activity, tables })
}

struct Dictionaries {
    names: ArrayRef,
    rdata: ArrayRef,
    clients: ArrayRef,
    rdtypes: ArrayRef,
    vantages: ArrayRef,
    rdtype_index: Vec<Option<u16>>,
}

impl Dictionaries {
    fn new(buckets: &[Bucket], tables: &Tables) -> Self {
        let mut rdtype_index = vec![None; 1 << 16];
        let mut seen = Vec::new();
        for bucket in buckets {
            for rdtype in bucket.rows.rdtype.iter().chain(&bucket.activity.rdtype).copied() {
                if rdtype_index[usize::from(rdtype)].is_none() {
                    rdtype_index[usize::from(rdtype)] = Some(seen.len() as u16); // 2^16 types at most
                    seen.push(rdtype_text(rdtype));
                }
            }
        }
        Dictionaries {
            names: strings(tables.names.len(), |id, out| tables.present_name(id, out)),
            rdata: strings(tables.entries().len(), |code, out| tables.present_rdata(code, out)),
            clients: Arc::new(
                tables.clients().iter().map(|address| Some(text::address(address))).collect::<StringArray>(),
            ),
            rdtypes: Arc::new(StringArray::from(seen)),
            vantages: Arc::new(StringArray::from_iter_values(Vantage::ALL.map(Vantage::name))),
            rdtype_index,
        }
    }

    fn keyed(&self, ids: Vec<i32>, values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(ids), values.clone())?))
    }

    fn typed(&self, types: &[u16]) -> Result<ArrayRef, ArrowError> {
        let index = |rdtype: &u16| self.rdtype_index[usize::from(*rdtype)].unwrap_or_default(); // all are known
        let keys = UInt16Array::from_iter_values(types.iter().map(index));
        Ok(Arc::new(DictionaryArray::<UInt16Type>::try_new(keys, self.rdtypes.clone())?))
    }

    fn seen_from(&self, vantages: Vec<i8>) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(DictionaryArray::<Int8Type>::try_new(Int8Array::from(vantages), self.vantages.clone())?))
    }
}

fn strings(n: usize, present: impl Fn(u32, &mut String)) -> ArrayRef {
    let mut builder = arrow_array::builder::StringBuilder::with_capacity(n, n * 20);
    let mut text = String::new();
    for id in 0..n as u32 {
        text.clear();
        present(id, &mut text);
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

fn integers(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    integers(values.map(|value| i64::try_from(value).unwrap_or(i64::MAX)).collect())
}

fn bits(values: Vec<u64>) -> ArrayRef {
    Arc::new(UInt64Array::from(values))
}

fn sightings_batch(rows: Rows, dictionaries: &Dictionaries) -> Result<RecordBatch, ArrowError> {
    let all_known = (0..rows.len()).all(|place| rows.has_ttl(place));
    let known = (!all_known).then(|| (0..rows.len()).map(|place| rows.has_ttl(place)).collect::<NullBuffer>());
    let ttl = |values: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::new(values.into(), known.clone())) };
    RecordBatch::try_from_iter_with_nullable([
        ("owner", dictionaries.keyed(rows.owner, &dictionaries.names)?, false),
        ("rdtype", dictionaries.typed(&rows.rdtype)?, false),
        ("rdata", dictionaries.keyed(rows.rdata, &dictionaries.rdata)?, false),
        ("time_first", times(rows.time_first), false),
        ("time_last", times(rows.time_last), false),
        ("count_raw", integers(rows.count_raw), false),
        ("ttl_max", ttl(rows.ttl_max), true),
        ("ttl_min", ttl(rows.ttl_min), true),
        ("vantage", dictionaries.seen_from(rows.vantage)?, false),
        ("fresh_minutes", bits(rows.fresh_minutes), false),
    ])
}

fn activity_batch(
    hour: i64,
    rows: Activities,
    dictionaries: &Dictionaries,
    clients: &[Address],
) -> Result<RecordBatch, ArrowError> {
    let n = rows.len();
    let n_clients = counts((0..n).map(|place| rows.n_clients(place, clients)));
    let none = (!rows.has_failures()).then(|| integers(vec![0; n]));
    let failures = FAILURE_NAMES.into_iter().enumerate().map(|(index, name)| {
        let column = none.clone().unwrap_or_else(|| counts((0..n).map(|place| rows.failures_of(place)[index])));
        (name, column, false)
    });
    let mut columns: Vec<(&str, ArrayRef, bool)> = failures.collect();
    columns.extend([
        ("n_clients", n_clients, false),
        ("clients", Arc::new(client_lists(rows.clients_end, rows.clients, dictionaries)?) as ArrayRef, false),
    ]);
    let first = [
        ("owner", dictionaries.keyed(rows.owner, &dictionaries.names)?, false),
        ("rdtype", dictionaries.typed(&rows.rdtype)?, false),
        ("bucket", times(vec![hour * HOUR_US; n]), false),
        ("vantage", dictionaries.seen_from(rows.vantage)?, false),
        ("responses", integers(rows.responses), false),
        ("fresh_minutes", bits(rows.fresh_minutes), false),
        ("answers_sum", integers(rows.answers_sum), false),
        ("answers_max", counts(rows.answers_max.into_iter().map(u64::from)), false),
    ];
    RecordBatch::try_from_iter_with_nullable(first.into_iter().chain(columns))
}

fn client_lists(ends: Vec<i32>, ids: Vec<u32>, dictionaries: &Dictionaries) -> Result<ListArray, ArrowError> {
    let keys = Int32Array::from_iter_values(ids.into_iter().map(|id| id as i32));
    let values = DictionaryArray::<Int32Type>::try_new(keys, dictionaries.clients.clone())?;
    let field = Field::new("item", values.data_type().clone(), false);
    let offsets = OffsetBuffer::new(std::iter::once(0).chain(ends).collect::<Vec<i32>>().into());
    ListArray::try_new(Arc::new(field), offsets, Arc::new(values), None)
}

/// A named column of plain strings, integers or times; the Python side casts before it calls.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn any(&self, name: &str, expected: &DataType) -> Result<&'a ArrayRef, String> {
        let column = self.0.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
        if column.data_type() != expected {
            return Err(format!("column {name} is {}, {expected} is needed", column.data_type()));
        }
        Ok(column)
    }

    fn strings(&self, name: &str) -> Result<&'a StringArray, String> {
        Ok(self.any(name, &DataType::Utf8)?.as_string::<i32>())
    }

    fn numbers(&self, name: &str) -> Result<&'a Int64Array, String> {
        Ok(self.any(name, &DataType::Int64)?.as_primitive::<Int64Type>())
    }

    fn bits(&self, name: &str) -> Result<&'a UInt64Array, String> {
        Ok(self.any(name, &DataType::UInt64)?.as_primitive::<UInt64Type>())
    }

    fn seconds(&self, name: &str) -> Result<&'a UInt32Array, String> {
        Ok(self.any(name, &DataType::UInt32)?.as_primitive::<UInt32Type>())
    }

    fn times(&self, name: &str) -> Result<&'a TimestampMicrosecondArray, String> {
        let expected = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()));
        Ok(self.any(name, &expected)?.as_primitive::<TimestampMicrosecondType>())
    }
}

/// Take a batch of saved sightings back in. Rows that are none are counted in `report`.
///
/// # Errors
/// A sentence when a column is missing or of another type.
pub fn import_sightings(batch: &RecordBatch, reducer: &mut Reducer, report: &mut Report) -> Result<(), String> {
    let columns = Columns(batch);
    let (owner, rdtype, rdata) = (columns.strings("owner")?, columns.strings("rdtype")?, columns.strings("rdata")?);
    let (first, last) = (columns.times("time_first")?, columns.times("time_last")?);
    let (count_raw, vantage) = (columns.numbers("count_raw")?, columns.strings("vantage")?);
    let (ttl_max, ttl_min) = (columns.seconds("ttl_max")?, columns.seconds("ttl_min")?);
    let fresh = columns.bits("fresh_minutes")?;
    let mut message = Message::default();
    for row in 0..batch.num_rows() {
        let place = report.items + 1;
        message.clear();
        let sighting = (|| {
            let rdtype = rdtype_code(rdtype.value(row))?;
            in_calendar(first.value(row)).and(in_calendar(last.value(row)))?;
            Some(Sighting {
                owner: message.add_name(owner.value(row)).ok()?,
                rdtype,
                rdata: rdata_from_text(&mut message, rdtype, rdata.value(row)).ok()?,
                hour: first.value(row).div_euclid(HOUR_US),
                seen: Seen {
                    time_first: first.value(row),
                    time_last: last.value(row),
                    count_raw: u64::try_from(count_raw.value(row)).ok()?,
                },
                fresh_minutes: fresh.value(row),
                ttl: (ttl_max.is_valid(row) && ttl_min.is_valid(row)).then(|| (ttl_max.value(row), ttl_min.value(row))),
                vantage: Vantage::from_name(vantage.value(row))?,
            })
        })();
        match sighting {
            Some(sighting) => {
                reducer.add_sighting(&message, &sighting);
                report.decoded(sighting.seen.time_first, 1);
            }
            None => report.malformed(Malformed::BadField, place),
        }
    }
    Ok(())
}

/// Take a batch of saved activity back in.
///
/// # Errors
/// A sentence when a column is missing or of another type, or a row is none.
pub fn import_activity(batch: &RecordBatch, reducer: &mut Reducer) -> Result<(), String> {
    let columns = Columns(batch);
    let (owner, rdtype, vantage) = (columns.strings("owner")?, columns.strings("rdtype")?, columns.strings("vantage")?);
    let (bucket, fresh) = (columns.times("bucket")?, columns.bits("fresh_minutes")?);
    let (responses, sum, max) =
        (columns.numbers("responses")?, columns.numbers("answers_sum")?, columns.numbers("answers_max")?);
    let n_clients = columns.numbers("n_clients")?;
    let mut failures = Vec::with_capacity(N_FAILURES);
    for name in FAILURE_NAMES {
        failures.push(columns.numbers(name)?);
    }
    let lists = batch
        .column_by_name("clients")
        .and_then(|column| column.as_list_opt::<i32>())
        .ok_or("column clients is missing or no list")?;
    let mut wire = Vec::new();
    for row in 0..batch.num_rows() {
        let broken = || format!("activity row {row} cannot be read: {} {}", owner.value(row), rdtype.value(row));
        let values = lists.value(row);
        let listed = values.as_string_opt::<i32>().ok_or_else(broken)?;
        let clients: Vec<Address> = listed.iter().flatten().filter_map(text::parse_address).collect();
        let number = |array: &Int64Array| u64::try_from(array.value(row)).map_err(|_| broken());
        let mut counted = [0; N_FAILURES];
        for (slot, array) in counted.iter_mut().zip(&failures) {
            *slot = number(array)?;
        }
        in_calendar(bucket.value(row)).ok_or_else(broken)?;
        wire.clear();
        name::parse(owner.value(row), &mut wire).map_err(|_| broken())?;
        reducer.add_activity(
            &wire,
            &SavedActivity {
                rdtype: rdtype_code(rdtype.value(row)).ok_or_else(broken)?,
                hour: bucket.value(row).div_euclid(HOUR_US),
                vantage: Vantage::from_name(vantage.value(row)).ok_or_else(broken)?,
                responses: number(responses)?,
                fresh_minutes: fresh.value(row),
                answers_sum: number(sum)?,
                answers_max: u32::try_from(max.value(row)).map_err(|_| broken())?,
                failures: counted,
                clients: &clients,
                sampled: number(n_clients)? > clients.len() as u64,
            },
        );
    }
    Ok(())
}

/// Rdata from presentation form: addresses and names by their value, anything else by its text.
///
/// # Errors
/// [`Malformed::BadField`] when an address or a name is none.
pub fn rdata_from_text(message: &mut Message, rdtype: u16, text: &str) -> Result<Rdata, Malformed> {
    match rdtype {
        rdtype::A => {
            let address: std::net::Ipv4Addr = text.parse().map_err(|_| Malformed::BadField)?;
            Ok(Rdata::A(address.into()))
        }
        rdtype::AAAA => {
            let address: std::net::Ipv6Addr = text.parse().map_err(|_| Malformed::BadField)?;
            Ok(Rdata::Bytes(message.add_bytes(&address.octets())))
        }
        _ if rdtype::is_name_type(rdtype) => message.add_name(text).map(Rdata::Name),
        _ => Ok(match crate::rdata::parse(rdtype, text) {
            Some(bytes) => Rdata::Bytes(message.add_bytes(&bytes)),
            None => Rdata::Text(message.add_bytes(text.as_bytes())),
        }),
    }
}
