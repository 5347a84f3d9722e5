//! Sightings as they are read: their columns, and the rows of each name.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type,
};
use arrow_array::{Array, Int32Array, PrimitiveArray, RecordBatch, StringArray, UInt64Array};

use crate::table::NONE;

/// The columns of one hour's sightings.
pub(crate) struct Columns<'a> {
    pub rdtype: &'a PrimitiveArray<UInt16Type>,
    pub rdata: &'a Int32Array,
    pub vantage: &'a PrimitiveArray<Int8Type>,
    pub time_first: &'a PrimitiveArray<TimestampMicrosecondType>,
    pub time_last: &'a PrimitiveArray<TimestampMicrosecondType>,
    pub count_raw: &'a PrimitiveArray<Int64Type>,
    ttl_max: &'a PrimitiveArray<UInt32Type>,
    pub fresh_minutes: &'a UInt64Array,
    pub kinds: Kinds,
}

/// Dictionary keys of the record types that matter here, in one batch.
#[derive(Clone, Copy)]
pub(crate) struct Kinds {
    pub a: Option<u16>,
    pub aaaa: Option<u16>,
    pub ns: Option<u16>,
    pub cname: Option<u16>,
}

pub(crate) fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
    column.as_primitive_opt::<T>().ok_or_else(|| format!("column {name} is {}", column.data_type()))
}

pub(crate) fn keys<'a, T: arrow_array::types::ArrowDictionaryKeyType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<(&'a PrimitiveArray<T>, &'a StringArray), String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
    let wrong = || format!("column {name} is {}, a dictionary of strings is needed", column.data_type());
    let dictionary = column.as_dictionary_opt::<T>().ok_or_else(wrong)?;
    let values = dictionary.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    Ok((dictionary.keys(), values))
}

impl<'a> Columns<'a> {
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let (rdtype, types) = keys::<UInt16Type>(batch, "rdtype")?;
        let kind = |name: &str| types.iter().position(|known| known == Some(name)).map(|at| at as u16);
        Ok(Columns {
            rdtype,
            rdata: keys::<Int32Type>(batch, "rdata")?.0,
            vantage: keys::<Int8Type>(batch, "vantage")?.0,
            time_first: primitive(batch, "time_first")?,
            time_last: primitive(batch, "time_last")?,
            count_raw: primitive(batch, "count_raw")?,
            ttl_max: primitive(batch, "ttl_max")?,
            fresh_minutes: primitive(batch, "fresh_minutes")?,
            kinds: Kinds { a: kind("A"), aaaa: kind("AAAA"), ns: kind("NS"), cname: kind("CNAME") },
        })
    }

    /// Fresh observations in a row, as [`crate::sightings`] has it.
    pub fn fresh(&self, row: usize) -> u64 {
        match self.vantage.value(row) {
            UPSTREAM | HISTORY => self.count_raw.value(row).unsigned_abs(),
            _ => u64::from(self.fresh_minutes.value(row).count_ones()),
        }
    }

    pub fn ttl(&self, row: usize) -> Option<u32> {
        self.ttl_max.is_valid(row).then(|| self.ttl_max.value(row))
    }

    /// Number of the rdata, first and last time, when a row is about an address.
    pub fn address(&self, row: usize) -> Option<(u32, i64, i64)> {
        let rdtype = Some(self.rdtype.value(row));
        (rdtype == self.kinds.a || rdtype == self.kinds.aaaa)
            .then(|| (self.rdata.value(row) as u32, self.time_first.value(row), self.time_last.value(row)))
    }
}

/// Sightings in canonical order.
pub(crate) struct Groups<'a> {
    pub batches: Vec<Columns<'a>>,
    pub by_owner: ByOwner<'a>,
}

impl<'a> Groups<'a> {
    /// # Errors
    /// A sentence when a column is missing or of another type, or the rows are in another order.
    pub fn new(batches: &'a [RecordBatch], n_names: usize) -> Result<Self, String> {
        let by_owner = ByOwner::new(batches, n_names)?;
        Ok(Groups { batches: batches.iter().map(Columns::new).collect::<Result<_, _>>()?, by_owner })
    }
}

/// Rows of one batch.
pub(crate) type Run = (usize, Range<usize>);

/// The owners of batches in canonical order: in each batch the rows of a name stand together, and
/// names ascend.
pub(crate) struct ByOwner<'a>(Vec<&'a [i32]>);

impl<'a> ByOwner<'a> {
    /// # Errors
    /// A sentence when there are no such owners, or the rows are in another order.
    pub fn new(batches: &'a [RecordBatch], n_names: usize) -> Result<Self, String> {
        let mut all = Vec::with_capacity(batches.len());
        for batch in batches {
            let owners: &[i32] = keys::<Int32Type>(batch, "owner")?.0.values();
            if !owners.is_sorted() {
                return Err("the rows must be in canonical order".to_owned());
            }
            if owners.last().is_some_and(|last| *last as usize >= n_names) {
                return Err("an owner is not in the dictionary".to_owned());
            }
            all.push(owners);
        }
        Ok(ByOwner(all))
    }

    /// Call with each of these names, ascending, and its rows in each batch that has any.
    ///
    /// A batch waits in the list of its next name, so that what this costs goes by rows, however
    /// many batches there are.
    pub fn each(&self, names: Range<usize>, mut take: impl FnMut(usize, &[Run])) {
        let mut first = vec![NONE; names.len()];
        let mut next = vec![NONE; self.0.len()];
        let mut at = vec![0; self.0.len()];
        let wait = |first: &mut [u32], batch: usize, row: usize| {
            let owner = self.0[batch].get(row).map_or(usize::MAX, |owner| *owner as usize);
            let known = owner.checked_sub(names.start).and_then(|place| first.get_mut(place));
            known.map_or(NONE, |first| std::mem::replace(first, batch as u32))
        };
        for (batch, owners) in self.0.iter().enumerate() {
            at[batch] = owners.partition_point(|owner| (*owner as usize) < names.start);
            next[batch] = wait(&mut first, batch, at[batch]);
        }
        let mut runs: Vec<Run> = Vec::new();
        for name in names.clone() {
            runs.clear();
            let mut batch = first[name - names.start] as usize;
            while let Some(owners) = self.0.get(batch) {
                let start = at[batch];
                at[batch] += owners[start..].iter().take_while(|owner| **owner as usize == name).count();
                runs.push((batch, start..at[batch]));
                let following = next[batch] as usize;
                next[batch] = wait(&mut first, batch, at[batch]);
                batch = following;
            }
            runs.sort_unstable_by_key(|(batch, _)| *batch); // by hour: nearly in the order that counting wants
            take(name, &runs);
        }
    }
}

/// Dictionary key of the vantage `upstream`, as the core writes it.
pub(crate) const UPSTREAM: i8 = 2;
/// That of `history`.
const HISTORY: i8 = 3;
