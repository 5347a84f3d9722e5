//! Clients that asked for names, as JSON.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ListArray, RecordBatch, StringArray};

use crate::rollup::ByOwner;

/// Activity by name, and its clients in the order of their text.
pub struct Asking<'a> {
    by_owner: ByOwner<'a>,
    lists: Vec<&'a ListArray>,
    /// Place of each client, by its number, and its JSON by place.
    ranks: Vec<u32>,
    json: Vec<String>,
}

impl<'a> Asking<'a> {
    /// `activity` is in canonical order, of `n_names` names.
    ///
    /// # Errors
    /// A sentence when a column is missing or of another type.
    pub fn new(activity: &'a [RecordBatch], n_names: usize) -> Result<Self, String> {
        let lists = activity.iter().map(|batch| batch.column_by_name("clients").and_then(|lists| lists.as_list_opt()));
        let lists: Vec<&ListArray> = lists.collect::<Option<_>>().ok_or("column clients is missing or no list")?;
        let first = lists.first().ok_or("no batch of activity")?;
        let texts = Self::texts(first).ok_or("clients are no dictionary of strings")?;
        if lists.iter().any(|list| Self::texts(list).is_none_or(|other| other.len() != texts.len())) {
            return Err("the batches do not share their dictionaries".to_owned());
        }
        let mut order: Vec<(&str, usize)> = texts.iter().map(Option::unwrap_or_default).zip(0..).collect();
        order.sort_unstable();
        let mut ranks = vec![0; order.len()];
        order.iter().enumerate().for_each(|(rank, (_, id))| ranks[*id] = rank as u32);
        let json = order.iter().map(|(text, _)| serde_json::to_string(text).map_err(|error| error.to_string()));
        Ok(Asking { by_owner: ByOwner::new(activity, n_names)?, lists, ranks, json: json.collect::<Result<_, _>>()? })
    }

    fn texts(list: &ListArray) -> Option<&StringArray> {
        list.values().as_dictionary_opt::<Int32Type>()?.values().as_string_opt()
    }

    /// Of each of these names (which ascend) the clients as a JSON array in the order of their text,
    /// and how many there are; up to 64 per name, type and hour are kept.
    pub fn json(&self, names: &[u32]) -> Vec<(Vec<u8>, usize)> {
        let (Some(first), Some(last)) = (names.first(), names.last()) else { return Vec::new() };
        let mut left = names.iter().peekable();
        let mut clients: Vec<u32> = Vec::new();
        let mut all = Vec::with_capacity(names.len());
        self.by_owner.each(*first as usize..*last as usize + 1, |name, runs| {
            if left.next_if(|wanted| **wanted as usize == name).is_none() {
                return;
            }
            clients.clear();
            for (batch, rows) in runs {
                let list = self.lists[*batch];
                let ends = list.value_offsets();
                let ids = list.values().as_dictionary::<Int32Type>().keys();
                let ids = &ids.values()[ends[rows.start] as usize..ends[rows.end] as usize];
                clients.extend(ids.iter().map(|id| self.ranks[*id as usize]));
            }
            clients.sort_unstable();
            clients.dedup();
            let words: Vec<&str> = clients.iter().map(|rank| self.json[*rank as usize].as_str()).collect();
            all.push((format!("[{}]", words.join(",")).into_bytes(), clients.len()));
        });
        all
    }
}
