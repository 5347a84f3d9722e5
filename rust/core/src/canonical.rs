//! Names and rdata numbered in the order of their text, rows in that order.
//!
//! Reducers number what they see in its order, or in that of their threads. With these numbers,
//! and rows in their order, what follows depends on what was seen alone, whichever engine read it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Int8Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, ListArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, TimeUnit};

use crate::rollup::keys;
use crate::rows::sort_by_owner;
use crate::threads::side_by_side;

/// Both tables in the order of owner, rdata, type and vantage, inside each batch. All batches have
/// the same dictionaries; what none of their rows refers to is left out of these, unless it is a
/// name that rdata points to. Each batch is given back before the next one is copied.
///
/// # Errors
/// A sentence when a column is missing or of another type.
pub fn canonical(
    sightings: Vec<RecordBatch>,
    activity: Vec<RecordBatch>,
    threads: usize,
) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), String> {
    let first = sightings.first().ok_or("there is no batch")?.clone();
    let (names, texts) = (keys::<Int32Type>(&first, "owner")?.1, keys::<Int32Type>(&first, "rdata")?.1);
    let mut used_names = vec![false; names.len()];
    let mut used_texts = vec![false; texts.len()];
    mark(sightings.iter().chain(&activity), "owner", &mut used_names)?;
    mark(sightings.iter(), "rdata", &mut used_texts)?;
    let numbers: HashMap<&str, usize, foldhash::fast::RandomState> =
        names.iter().enumerate().filter_map(|(id, name)| Some((name?, id))).collect();
    for (text, _) in texts.iter().zip(&used_texts).filter(|(_, used)| **used) {
        // Every name ends in a dot, no address does.
        if let Some(id) = text.filter(|text| text.ends_with('.')).and_then(|text| numbers.get(text)) {
            used_names[*id] = true;
        }
    }
    drop(numbers);
    let (owner, rdata) = std::thread::scope(|scope| {
        let other = scope.spawn(|| Order::new(texts, &used_texts));
        (Order::new(names, &used_names), other.join().expect("a sorting thread does not panic"))
    });
    drop(first);
    let small = Copies::of(sightings.iter().chain(&activity));
    let sightings =
        side_by_side(threads, sightings.into_iter(), |batch| in_order(&batch, &owner, Some(&rdata), &small));
    let activity = side_by_side(threads, activity.into_iter(), |batch| in_order(&batch, &owner, None, &small));
    Ok((sightings.into_iter().collect::<Result<_, _>>()?, activity.into_iter().collect::<Result<_, _>>()?))
}

/// Mark the dictionary values that rows refer to.
fn mark<'a>(batches: impl Iterator<Item = &'a RecordBatch>, column: &str, used: &mut [bool]) -> Result<(), String> {
    for batch in batches {
        for key in keys::<Int32Type>(batch, column)?.0.values() {
            *used.get_mut(*key as usize).ok_or("the batches do not share their dictionaries")? = true;
        }
    }
    Ok(())
}

/// The other dictionaries (types, vantages, clients), copied once. Arrays that came from elsewhere
/// keep the whole batch that they came with in memory, so none of them may stay.
struct Copies(HashMap<(usize, usize), ArrayRef>);

impl Copies {
    fn of<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> Self {
        let mut copies = HashMap::new();
        for column in batches.flat_map(RecordBatch::columns) {
            let values = match column.data_type() {
                DataType::Dictionary(key, _) if **key != DataType::Int32 => column.as_any_dictionary().values(),
                DataType::List(_) => column.as_list::<i32>().values().as_any_dictionary().values(),
                _ => continue,
            };
            if let Some(texts) = values.as_string_opt::<i32>() {
                let copy = || Arc::new(texts.iter().collect::<StringArray>()) as ArrayRef;
                copies.entry(Self::place(texts)).or_insert_with(copy);
            }
        }
        Copies(copies)
    }

    /// What tells one dictionary from another while all of them are there.
    fn place(texts: &StringArray) -> (usize, usize) {
        (texts.value_offsets().as_ptr() as usize, texts.len())
    }

    fn get<'a>(&'a self, values: &'a ArrayRef) -> &'a ArrayRef {
        let copy = values.as_string_opt::<i32>().and_then(|texts| self.0.get(&Self::place(texts)));
        copy.unwrap_or(values)
    }
}

/// Texts in the order of their bytes.
struct Order {
    values: ArrayRef,
    /// Place of each old number.
    ranks: Vec<u32>,
}

impl Order {
    fn new(texts: &StringArray, used: &[bool]) -> Self {
        let kept = (0..texts.len() as u32).filter(|id| used[*id as usize]);
        // The first sixteen bytes tell nearly all apart, and need no look at the text.
        let mut order: Vec<(u128, u32)> = kept.map(|id| (head(texts.value(id as usize)), id)).collect();
        let text = |id: u32| texts.value(id as usize);
        order.sort_unstable_by(|(a, one), (b, other)| {
            a.cmp(b).then_with(|| text(*one).cmp(text(*other))).then(one.cmp(other))
        });
        let mut ranks = vec![0; texts.len()];
        let mut values = StringBuilder::with_capacity(order.len(), texts.value_data().len());
        for (rank, (_, id)) in order.iter().enumerate() {
            ranks[*id as usize] = rank as u32;
            values.append_value(text(*id));
        }
        Order { values: Arc::new(values.finish()), ranks }
    }

    /// The column with the new numbers of rows in `rows`.
    fn column(&self, batch: &RecordBatch, name: &str, rows: &[Place]) -> Result<ArrayRef, String> {
        let old = keys::<Int32Type>(batch, name)?.0.values();
        let new = rows.iter().map(|place| self.ranks[old[place.row as usize] as usize] as i32);
        dictionary::<Int32Type>(Int32Array::from_iter_values(new), &self.values).map_err(|error| error.to_string())
    }
}

fn head(text: &str) -> u128 {
    let mut bytes = [0; 16];
    let n = text.len().min(16);
    bytes[..n].copy_from_slice(&text.as_bytes()[..n]);
    u128::from_be_bytes(bytes)
}

/// A row on its way to its place.
#[derive(Clone, Copy)]
struct Place {
    owner: u32,
    row: u32,
    /// Rdata, type and vantage.
    key: u64,
}

fn in_order(batch: &RecordBatch, owner: &Order, rdata: Option<&Order>, small: &Copies) -> Result<RecordBatch, String> {
    let owners = keys::<Int32Type>(batch, "owner")?.0.values();
    let (rdtypes, names) = keys::<UInt16Type>(batch, "rdtype")?;
    let rdtype_ranks = Order::new(names, &vec![true; names.len()]).ranks;
    let vantages = keys::<Int8Type>(batch, "vantage")?.0.values();
    let codes = match rdata {
        Some(order) => Some((order, keys::<Int32Type>(batch, "rdata")?.0.values())),
        None => None,
    };
    let place = |row: usize| {
        let code = codes.as_ref().map_or(0, |(order, codes)| order.ranks[codes[row] as usize]);
        let minor = u64::from(rdtype_ranks[usize::from(rdtypes.value(row))]) << 8 | u64::from(vantages[row] as u8);
        Place { owner: owner.ranks[owners[row] as usize], row: row as u32, key: u64::from(code) << 24 | minor }
    };
    let mut rows: Vec<Place> = (0..batch.num_rows()).map(place).collect();
    let blank = Place { owner: 0, row: 0, key: 0 };
    sort_by_owner(&mut rows, &mut Vec::new(), owner.values.len(), blank, |place| place.owner, |place| place.key);
    let schema = batch.schema();
    let columns =
        schema.fields().iter().zip(batch.columns()).map(|(field, column)| match (field.name().as_str(), rdata) {
            ("owner", _) => owner.column(batch, "owner", &rows),
            ("rdata", Some(rdata)) => rdata.column(batch, "rdata", &rows),
            (name, _) => taken(column, &rows, small).map_err(|error| format!("column {name}: {error}")),
        });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?).map_err(|error| error.to_string())
}

fn dictionary<K: ArrowDictionaryKeyType>(keys: PrimitiveArray<K>, values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::<K>::try_new(keys, values.clone())?))
}

/// The values of some rows, of any type that these tables have.
fn taken(column: &ArrayRef, rows: &[Place], small: &Copies) -> Result<ArrayRef, ArrowError> {
    let at = rows.iter().map(|place| place.row as usize);
    Ok(match column.data_type() {
        DataType::Int64 => Arc::new(values::<Int64Type>(column.as_primitive(), at)),
        DataType::UInt32 => Arc::new(values::<UInt32Type>(column.as_primitive(), at)),
        DataType::UInt64 => Arc::new(values::<UInt64Type>(column.as_primitive(), at)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let taken = values::<TimestampMicrosecondType>(column.as_primitive(), at);
            Arc::new(taken.with_timezone_opt(zone.clone()))
        }
        DataType::Dictionary(key, _) if **key == DataType::Int8 => again::<Int8Type>(column, at, small)?,
        DataType::Dictionary(key, _) if **key == DataType::UInt16 => again::<UInt16Type>(column, at, small)?,
        DataType::List(field) => {
            let list = column.as_list::<i32>();
            let keys = list.values().as_dictionary::<Int32Type>();
            let ends = list.value_offsets();
            let mut members = Vec::with_capacity(keys.len());
            let mut offsets = Vec::with_capacity(rows.len() + 1);
            offsets.push(0);
            for row in at {
                members.extend_from_slice(&keys.keys().values()[ends[row] as usize..ends[row + 1] as usize]);
                offsets.push(members.len() as i32); // no more than there were
            }
            let values = dictionary::<Int32Type>(Int32Array::from(members), small.get(keys.values()))?;
            Arc::new(ListArray::try_new(field.clone(), OffsetBuffer::new(offsets.into()), values, None)?)
        }
        other => return Err(ArrowError::InvalidArgumentError(format!("no column of these tables is {other}"))),
    })
}

fn again<K: ArrowDictionaryKeyType>(
    column: &ArrayRef,
    at: impl ExactSizeIterator<Item = usize> + Clone,
    small: &Copies,
) -> Result<ArrayRef, ArrowError> {
    let column = column.as_dictionary::<K>();
    dictionary::<K>(values::<K>(column.keys(), at), small.get(column.values()))
}

fn values<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    at: impl ExactSizeIterator<Item = usize> + Clone,
) -> PrimitiveArray<T> {
    let all = column.values();
    let nulls = column.nulls().map(|nulls| at.clone().map(|row| nulls.is_valid(row)).collect::<NullBuffer>());
    PrimitiveArray::new(at.map(|row| all[row]).collect::<Vec<_>>().into(), nulls)
}
