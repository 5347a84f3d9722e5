//! The sightings of one hour: a log of changes while it is open, sorted columns once it is closed.
//!
//! A change is folded into the row that stands in its place of a small front (which all open hours
//! share, and which stays in the second-level cache), or takes that place; the row that stood there
//! goes to the end of its hour's log. So memory is written in order, whatever names come. When the
//! hour is closed, the log is sorted and folded: sorting costs less than a table of rows that does
//! not fit a cache, and everything after it gains from rows that stand by owner.

use crate::rdtype;
use crate::reduce::{HOUR_US, Vantage};
use crate::table::{Entry, NONE, Tables, WARM};

/// Rows in the front, as a power of two.
const FRONT_BITS: u32 = 12;
/// Rows of the log that become columns at once.
const COLUMN_CHUNK: usize = 1024;

/// One sighting of one hour; what does not fit (passive DNS over months) is in [`Log::wide`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub fresh_minutes: u64,
    pub owner: u32,
    /// The address of an A, the number of a name, else the number of the rdata.
    pub raw: u32,
    /// Microseconds since the start of the hour. Of a wide row, `first` is its place in [`Log::wide`].
    pub first: u32,
    pub last: u32,
    /// Responses; 0 for a record that its response holds twice.
    pub count: u32,
    pub ttl_max: u32,
    pub ttl_min: u32,
    pub rdtype: u16,
    pub vantage: Vantage,
    is_wide: bool,
}

/// When and how often, for any span and any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Microseconds since the epoch.
    pub time_first: i64,
    pub time_last: i64,
    pub count_raw: u64,
}

impl Seen {
    fn with(&self, other: &Seen) -> Seen {
        Seen {
            time_first: self.time_first.min(other.time_first),
            time_last: self.time_last.max(other.time_last),
            count_raw: self.count_raw.saturating_add(other.count_raw), // counts may be a stranger's
        }
    }
}

const EMPTY: Row = Row {
    fresh_minutes: 0,
    owner: NONE,
    raw: 0,
    first: 0,
    last: 0,
    count: 0,
    ttl_max: 0,
    ttl_min: 0,
    rdtype: 0,
    vantage: Vantage::Unknown,
    is_wide: false,
};

impl Row {
    /// A record seen once, `at` microseconds into its hour.
    pub fn once(owner: u32, rdtype: u16, raw: u32, vantage: Vantage, at: u32, ttl: u32, bit: u64) -> Self {
        Row {
            fresh_minutes: bit,
            owner,
            raw,
            first: at,
            last: at,
            count: 1,
            ttl_max: ttl,
            ttl_min: ttl,
            rdtype,
            vantage,
            is_wide: false,
        }
    }

    pub fn with_ttl(self, ttl_max: u32, ttl_min: u32) -> Self {
        Row { ttl_max, ttl_min, ..self }
    }

    /// What tells it from other rows of its owner, as a number.
    fn key(&self) -> u64 {
        u64::from(self.rdtype) << 40 | (self.vantage as u64) << 32 | u64::from(self.raw)
    }

    pub fn is_same(&self, other: &Row) -> bool {
        self.owner == other.owner && self.key() == other.key()
    }

    /// Collisions cost a longer log and nothing else, so a cheap hash will do.
    fn place(&self) -> usize {
        let pair = u64::from(self.owner) << 32 | u64::from(self.raw);
        let mixed = (pair ^ u64::from(self.rdtype) << 20).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - FRONT_BITS)) as usize
    }

    /// Fold in another row that fits; false (and nothing done) when the sum would not.
    fn fold_narrow(&mut self, other: &Row) -> bool {
        let (Some(count), false) = (self.count.checked_add(other.count), self.is_wide || other.is_wide) else {
            return false;
        };
        self.count = count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.fold_rest(other);
        true
    }

    fn fold_rest(&mut self, other: &Row) {
        self.fresh_minutes |= other.fresh_minutes;
        self.ttl_max = self.ttl_max.max(other.ttl_max);
        self.ttl_min = self.ttl_min.min(other.ttl_min);
    }

    /// What the rdata is; for other types the number is known already.
    fn entry(&self) -> Option<Entry> {
        match self.rdtype {
            rdtype::A => Some(Entry::A(self.raw)),
            rdtype if rdtype::is_name_type(rdtype) => Some(Entry::Name(self.raw)),
            _ => None,
        }
    }
}

/// What repeats soon is folded here, whichever hour it belongs to, before it comes to a log.
#[derive(Default)]
pub struct Front {
    rows: Vec<Row>,
    /// Hour of each row.
    hours: Vec<i64>,
}

impl Front {
    /// Take in a row of the present hour, whose log takes what it displaces. Gives back what it
    /// displaces of another hour, with that.
    #[inline]
    pub fn add(&mut self, hour: i64, row: &Row, log: &mut Log) -> Option<(i64, Row)> {
        if self.rows.is_empty() {
            self.rows.resize(1 << FRONT_BITS, EMPTY);
            self.hours.resize(1 << FRONT_BITS, 0);
        }
        let place = row.place();
        let (slot, slot_hour) = (&mut self.rows[place], &mut self.hours[place]);
        if *slot_hour == hour {
            if slot.is_same(row) && slot.fold_narrow(row) {
                return None;
            }
            if slot.owner != NONE {
                log.push(*slot); // from there to there: in between it would be copied twice
            }
            *slot = *row;
            return None;
        }
        let before = (std::mem::replace(slot_hour, hour), std::mem::replace(slot, *row));
        (before.1.owner != NONE).then_some(before)
    }

    /// Give away every row, with its hour.
    pub fn empty(&mut self) -> impl Iterator<Item = (i64, Row)> + '_ {
        let rows = self.rows.iter_mut().map(|row| std::mem::replace(row, EMPTY));
        self.hours.iter().copied().zip(rows).filter(|(_, row)| row.owner != NONE)
    }
}

/// Rows of an hour that is open.
#[derive(Default)]
pub struct Log {
    rows: Vec<Row>,
    wide: Vec<Seen>,
}

impl Log {
    /// `spare` is emptied memory of another log.
    pub fn with(spare: Vec<Row>) -> Self {
        Log { rows: spare, wide: Vec::new() }
    }

    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Add a row with what was seen of it, whatever its hour holds.
    pub fn add_seen(&mut self, hour: i64, mut row: Row, seen: Seen) {
        self.set_seen(hour, &mut row, seen);
        self.rows.push(row);
    }

    fn set_seen(&mut self, hour: i64, row: &mut Row, seen: Seen) {
        let offset = |time: i64| u32::try_from(time.checked_sub(hour * HOUR_US)?).ok();
        let narrow = offset(seen.time_first).zip(offset(seen.time_last)).zip(u32::try_from(seen.count_raw).ok());
        row.is_wide = narrow.is_none();
        match narrow {
            Some(((first, last), count)) => (row.first, row.last, row.count) = (first, last, count),
            None => {
                row.first = self.wide.len() as u32;
                self.wide.push(seen);
            }
        }
    }

    fn seen(&self, hour: i64, row: &Row) -> Seen {
        if row.is_wide {
            return self.wide[row.first as usize];
        }
        let start = hour * HOUR_US;
        Seen {
            time_first: start + i64::from(row.first),
            time_last: start + i64::from(row.last),
            count_raw: u64::from(row.count),
        }
    }

    /// Bring the rows in order, equal ones folded into one.
    fn fold(&mut self, hour: i64, n_names: usize, scratch: &mut Vec<Row>) {
        sort_by_owner(&mut self.rows, scratch, n_names, EMPTY, |row| row.owner, Row::key);
        let mut rows = std::mem::take(&mut self.rows);
        let mut last = 0;
        for place in 1..rows.len() {
            let (before, row) = rows.split_at_mut(place);
            let (known, row) = (&mut before[last], &row[0]);
            if !known.is_same(row) {
                last += 1;
                rows[last] = rows[place];
            } else if !known.fold_narrow(row) {
                let seen = self.seen(hour, known).with(&self.seen(hour, row));
                known.fold_rest(row);
                self.set_seen(hour, known, seen);
            }
        }
        rows.truncate(last + 1);
        self.rows = rows;
    }

    /// Empty the log into columns. The numbers of A and name rdata come from `code`, which is given
    /// some rows at a time.
    fn columns(&mut self, hour: i64, mut code: impl FnMut(&[Row], &mut Vec<i32>)) -> Rows {
        let mut columns = Rows::with_capacity(self.rows.len());
        for chunk in self.rows.chunks(COLUMN_CHUNK) {
            code(chunk, &mut columns.rdata);
            columns.owner.extend(chunk.iter().map(|row| row.owner as i32));
            columns.rdtype.extend(chunk.iter().map(|row| row.rdtype));
            columns.vantage.extend(chunk.iter().map(|row| row.vantage as i8));
            columns.time_first.extend(chunk.iter().map(|row| self.seen(hour, row).time_first));
            columns.time_last.extend(chunk.iter().map(|row| self.seen(hour, row).time_last));
            let count = |row: &Row| i64::try_from(self.seen(hour, row).count_raw).unwrap_or(i64::MAX);
            columns.count_raw.extend(chunk.iter().map(count));
            columns.ttl_max.extend(chunk.iter().map(|row| row.ttl_max));
            columns.ttl_min.extend(chunk.iter().map(|row| row.ttl_min));
            columns.fresh_minutes.extend(chunk.iter().map(|row| row.fresh_minutes));
        }
        self.rows.clear();
        self.wide.clear();
        columns
    }

    /// Empty the log into columns, in the order of owner, type, vantage and rdata.
    pub fn close(&mut self, hour: i64, tables: &mut Tables, scratch: &mut Vec<Row>) -> Rows {
        self.fold(hour, tables.names.len(), scratch);
        self.columns(hour, |rows, codes| {
            for chunk in rows.chunks(WARM) {
                tables.warm_rdata(chunk.iter().filter_map(Row::entry));
                let number = |row: &Row| row.entry().map_or(row.raw, |entry| tables.intern_rdata(entry));
                codes.extend(chunk.iter().map(number).map(|code| code as i32));
            }
        })
    }

    /// The memory of an emptied log.
    pub fn into_spare(self) -> Vec<Row> {
        self.rows
    }
}

/// Sort by `owner` (below `n_owners`) and `key`: a counting sort, then each owner's few by itself.
pub fn sort_by_owner<T: Copy>(
    rows: &mut Vec<T>,
    scratch: &mut Vec<T>,
    n_owners: usize,
    blank: T,
    owner: impl Fn(&T) -> u32,
    key: impl Fn(&T) -> u64,
) {
    if rows.len() < n_owners / 8 {
        rows.sort_unstable_by_key(|row| (owner(row), key(row)));
        return;
    }
    let mut places = vec![0u32; n_owners];
    rows.iter().for_each(|row| places[owner(row) as usize] += 1);
    let mut sum = 0;
    for place in &mut places {
        sum += std::mem::replace(place, sum);
    }
    if scratch.len() < rows.len() {
        scratch.resize(rows.len(), blank);
    }
    for row in rows.iter() {
        let place = &mut places[owner(row) as usize];
        scratch[*place as usize] = *row;
        *place += 1;
    }
    scratch.truncate(rows.len());
    std::mem::swap(rows, scratch);
    for run in rows.chunk_by_mut(|a, b| owner(a) == owner(b)) {
        run.sort_unstable_by_key(&key);
    }
}

/// Append a column, and take no more memory than both need.
pub fn join<T>(into: &mut Vec<T>, mut other: Vec<T>) {
    into.reserve_exact(other.len());
    into.append(&mut other);
}

/// Rows of a closed hour, as the columns they leave in.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Numbers of names and of rdata: dictionary keys, hence signed.
    pub owner: Vec<i32>,
    pub rdata: Vec<i32>,
    pub rdtype: Vec<u16>,
    /// [`Vantage`] as a number.
    pub vantage: Vec<i8>,
    /// Microseconds since the epoch.
    pub time_first: Vec<i64>,
    pub time_last: Vec<i64>,
    pub count_raw: Vec<i64>,
    /// TTLs are unknown in most passive DNS: then the minimum is above the maximum.
    pub ttl_max: Vec<u32>,
    pub ttl_min: Vec<u32>,
    pub fresh_minutes: Vec<u64>,
}

impl Rows {
    fn with_capacity(n: usize) -> Self {
        Rows {
            owner: Vec::with_capacity(n),
            rdata: Vec::with_capacity(n),
            rdtype: Vec::with_capacity(n),
            vantage: Vec::with_capacity(n),
            time_first: Vec::with_capacity(n),
            time_last: Vec::with_capacity(n),
            count_raw: Vec::with_capacity(n),
            ttl_max: Vec::with_capacity(n),
            ttl_min: Vec::with_capacity(n),
            fresh_minutes: Vec::with_capacity(n),
        }
    }

    pub fn len(&self) -> usize {
        self.owner.len()
    }

    pub fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    pub fn has_ttl(&self, place: usize) -> bool {
        self.ttl_min[place] <= self.ttl_max[place]
    }

    /// Rows of the same hour about other owners.
    pub fn append(&mut self, other: Rows) {
        join(&mut self.owner, other.owner);
        join(&mut self.rdata, other.rdata);
        join(&mut self.rdtype, other.rdtype);
        join(&mut self.vantage, other.vantage);
        join(&mut self.time_first, other.time_first);
        join(&mut self.time_last, other.time_last);
        join(&mut self.count_raw, other.count_raw);
        join(&mut self.ttl_max, other.ttl_max);
        join(&mut self.ttl_min, other.ttl_min);
        join(&mut self.fresh_minutes, other.fresh_minutes);
    }

    /// Put another worker's numbers in terms of ours: the order is lost.
    pub fn renumber(&mut self, names: &[u32], rdata: &[u32]) {
        self.owner.iter_mut().for_each(|owner| *owner = names[*owner as usize] as i32);
        self.rdata.iter_mut().for_each(|code| *code = rdata[*code as usize] as i32);
    }

    /// Several pieces of one hour as one, in order. `spare` is memory to work in.
    pub fn merged(
        pieces: &mut dyn Iterator<Item = Rows>,
        hour: i64,
        n_names: usize,
        spare: &mut (Vec<Row>, Vec<Row>),
    ) -> Rows {
        let mut log = Log::with(std::mem::take(&mut spare.0));
        for piece in pieces {
            for place in 0..piece.len() {
                let row = Row {
                    fresh_minutes: piece.fresh_minutes[place],
                    owner: piece.owner[place] as u32,
                    raw: piece.rdata[place] as u32,
                    ttl_max: piece.ttl_max[place],
                    ttl_min: piece.ttl_min[place],
                    rdtype: piece.rdtype[place],
                    vantage: Vantage::ALL[piece.vantage[place] as usize],
                    ..EMPTY
                };
                let seen = Seen {
                    time_first: piece.time_first[place],
                    time_last: piece.time_last[place],
                    count_raw: piece.count_raw[place].unsigned_abs(),
                };
                log.add_seen(hour, row, seen);
            }
        }
        log.fold(hour, n_names, &mut spare.1);
        let columns = log.columns(hour, |rows, codes| codes.extend(rows.iter().map(|row| row.raw as i32)));
        spare.0 = log.into_spare();
        columns
    }
}
