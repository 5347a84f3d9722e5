//! Python binding of `unflux-core`. It converts and releases the GIL; it decides nothing.

mod live;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{Array, Int32Array, RecordBatch, StringArray, make_array};
use arrow_pyarrow::{PyArrowType, ToPyArrow};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use unflux_core::{
    agents, answers, asking, canonical, clients, compose, enrich, flows, formats, input, meetings, reduce, report,
    rollup, sightings, source,
};

type Batch = PyArrowType<RecordBatch>;
type Batches<'py> = Vec<Bound<'py, PyAny>>;
type ArrayData = PyArrowType<arrow_data::ArrayData>;

/// How far reading is, and a way to stop it from another thread.
#[pyclass(frozen, module = "unflux._native")]
#[derive(Default)]
struct Progress(Arc<input::Progress>);

#[pymethods]
impl Progress {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Bytes of the input files read so far.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Was `cancel` called?
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    /// Make the reading end at the next chance; what was read stays.
    fn cancel(&self) {
        self.0.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn tallies<'py, K>(
    py: Python<'py>,
    map: &std::collections::BTreeMap<K, report::Tally>,
    name: impl Fn(&K) -> &'static str,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (kind, tally) in map {
        let entry = PyDict::new(py);
        entry.set_item("count", tally.count)?;
        entry.set_item("first", tally.first)?;
        out.set_item(name(kind), entry)?;
    }
    Ok(out)
}

fn books<'py>(py: Python<'py>, report: &report::Report) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("items", report.items)?;
    out.set_item("assembled", report.assembled)?;
    out.set_item("decoded", report.decoded)?;
    out.set_item("records", report.records)?;
    out.set_item("skipped", tallies(py, &report.skipped, |kind| kind.name())?)?;
    out.set_item("malformed", tallies(py, &report.malformed, |kind| kind.name())?)?;
    out.set_item("oddities", tallies(py, &report.oddities, |kind| kind)?)?;
    out.set_item("records_left_out", tallies(py, &report.records_left_out, |kind| kind)?)?;
    out.set_item("time_first_us", report.time_range_us.map(|range| range.0))?;
    out.set_item("time_last_us", report.time_range_us.map(|range| range.1))?;
    Ok(out)
}

fn options(ports: Vec<u16>, vantage: &str, since_us: i64, until_us: i64, threads: usize) -> PyResult<source::Options> {
    let vantage = reduce::Vantage::from_name(vantage)
        .ok_or_else(|| PyValueError::new_err(format!("vantage is unknown, client or upstream, not {vantage:?}")))?;
    Ok(source::Options { ports, vantage, since_us, until_us, threads })
}

fn policy(clients: &str, key: Option<[u8; 16]>) -> PyResult<clients::Clients> {
    clients::Clients::from_name(clients, key).map_err(PyValueError::new_err)
}

fn format_of(name: &str) -> PyResult<formats::Format> {
    formats::Format::from_name(name)
        .ok_or_else(|| PyValueError::new_err(format!("{name:?} is no format that the core reads")))
}

/// Folds responses into sightings and activity; `finish` empties it.
#[pyclass(module = "unflux._native")]
struct Reducer(Option<reduce::Reducer>);

/// (books, sentence that says why reading broke off or None)
type Outcome<'py> = PyResult<(Bound<'py, PyDict>, Option<String>)>;

impl Reducer {
    fn inner(&mut self) -> PyResult<&mut reduce::Reducer> {
        self.0.as_mut().ok_or_else(|| PyRuntimeError::new_err("this Reducer is finished; make a new one"))
    }

    fn run<'py>(
        &mut self,
        py: Python<'py>,
        read: impl FnOnce(&mut reduce::Reducer, &mut report::Report) -> Result<(), String> + Send,
    ) -> Outcome<'py> {
        let reducer = self.inner()?;
        let mut report = report::Report::default();
        let error = py.detach(|| read(reducer, &mut report)).err();
        Ok((books(py, &report)?, error))
    }
}

#[pymethods]
impl Reducer {
    /// `clients`: keep, drop or pseudonymise (with `client_key`, 16 bytes).
    #[new]
    #[pyo3(signature = (clients="keep", client_key=None))]
    fn new(clients: &str, client_key: Option<[u8; 16]>) -> PyResult<Self> {
        Ok(Reducer(Some(reduce::Reducer::new(policy(clients, client_key)?))))
    }

    /// Take in what another reducer, which is finished by this, has read.
    fn absorb(&mut self, py: Python<'_>, other: &Bound<'_, Self>) -> PyResult<()> {
        let other = other.try_borrow_mut()?.0.take();
        let other = other.ok_or_else(|| PyRuntimeError::new_err("this Reducer is finished; make a new one"))?;
        let reducer = self.inner()?;
        py.detach(|| reducer.absorb(other));
        Ok(())
    }

    /// Read a whole file of the format `format`.
    #[pyo3(signature = (format, path, progress, *, ports, vantage, since_us, until_us, threads))]
    #[allow(clippy::too_many_arguments)]
    fn read<'py>(
        &mut self,
        py: Python<'py>,
        format: &str,
        path: PathBuf,
        progress: &Progress,
        ports: Vec<u16>,
        vantage: &str,
        since_us: i64,
        until_us: i64,
        threads: usize,
    ) -> Outcome<'py> {
        let format = format_of(format)?;
        let options = options(ports, vantage, since_us, until_us, threads)?;
        let progress = progress.0.clone();
        self.run(py, move |reducer, report| formats::reduce(format, &path, &options, reducer, report, &progress))
    }

    /// Take in rows of the answers table; the rows of one response must be in one batch.
    fn add_answers<'py>(&mut self, py: Python<'py>, batch: Batch) -> Outcome<'py> {
        self.run(py, move |reducer, report| answers::import(&batch.0, reducer, report))
    }

    fn add_sightings<'py>(&mut self, py: Python<'py>, batch: Batch) -> Outcome<'py> {
        self.run(py, move |reducer, report| sightings::import_sightings(&batch.0, reducer, report))
    }

    fn add_activity<'py>(&mut self, py: Python<'py>, batch: Batch) -> Outcome<'py> {
        self.run(py, move |reducer, _| sightings::import_activity(&batch.0, reducer))
    }

    /// (sightings, activity) as record batches, one per hour.
    #[pyo3(signature = (threads=1))]
    fn finish<'py>(&mut self, py: Python<'py>, threads: usize) -> PyResult<(Batches<'py>, Batches<'py>)> {
        self.inner()?;
        let reducer = self.0.take().unwrap_or_default();
        let reduced = py
            .detach(|| sightings::export(reducer, threads))
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok((to_python(py, &reduced.sightings)?, to_python(py, &reduced.activity)?))
    }
}

/// Take the batches out of a Python list.
fn moved(list: &Bound<'_, PyList>) -> PyResult<Vec<RecordBatch>> {
    let batches = list.iter().map(|batch| Ok(batch.extract::<Batch>()?.0)).collect();
    list.del_slice(0, list.len())?;
    batches
}

/// (sightings, activity) numbered and sorted by text; both lists are emptied.
#[pyfunction]
#[pyo3(name = "canonical", signature = (sightings, activity, threads=1))]
fn in_canonical_order<'py>(
    py: Python<'py>,
    sightings: &Bound<'py, PyList>,
    activity: &Bound<'py, PyList>,
    threads: usize,
) -> PyResult<(Batches<'py>, Batches<'py>)> {
    let (sightings, activity) = (moved(sightings)?, moved(activity)?);
    let (sightings, activity) =
        py.detach(|| canonical::canonical(sightings, activity, threads)).map_err(PyValueError::new_err)?;
    Ok((to_python(py, &sightings)?, to_python(py, &activity)?))
}

fn to_python<'py>(py: Python<'py>, batches: &[RecordBatch]) -> PyResult<Batches<'py>> {
    batches.iter().map(|batch| batch.to_pyarrow(py)).collect()
}

/// Read a capture or log into the answers table: `out(record_batch)` is called as it grows.
///
/// Returns (books, error or None, number for the next response).
#[pyfunction]
#[pyo3(signature = (format, path, progress, out, *, first_response, clients, client_key, ports, vantage, since_us, until_us))]
#[allow(clippy::too_many_arguments)]
fn read_answers<'py>(
    py: Python<'py>,
    format: &str,
    path: PathBuf,
    progress: &Progress,
    out: Py<PyAny>,
    first_response: u64,
    clients: &str,
    client_key: Option<[u8; 16]>,
    ports: Vec<u16>,
    vantage: &str,
    since_us: i64,
    until_us: i64,
) -> PyResult<(Bound<'py, PyDict>, Option<String>, u64)> {
    let options = options(ports, vantage, since_us, until_us, 1)?;
    let progress = progress.0.clone();
    let format = format_of(format)?;
    let policy = policy(clients, client_key)?;
    let mut report = report::Report::default();
    let mut failed = None;
    let (error, next) = py.detach(|| {
        let mut sink = answers::Answers::new(first_response, policy, |batch: RecordBatch| {
            let handed = Python::attach(|py| out.call1(py, PyTuple::new(py, [batch.to_pyarrow(py)?])?).map(|_| ()));
            if let Err(error) = handed {
                progress.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
                failed.get_or_insert(error);
            }
        });
        let result = formats::read(format, &path, &options, &mut sink, &mut report, &progress);
        (result.err(), sink.finish())
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let next = next.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok((books(py, &report)?, error, next))
}

/// Read a capture into the packets table (see `unflux_core::flows`): `out(record_batch)` is called as
/// it grows. Returns (books, error or None).
#[pyfunction]
#[pyo3(signature = (format, path, progress, out, *, since_us, until_us))]
fn read_packets<'py>(
    py: Python<'py>,
    format: &str,
    path: PathBuf,
    progress: &Progress,
    out: Py<PyAny>,
    since_us: i64,
    until_us: i64,
) -> PyResult<(Bound<'py, PyDict>, Option<String>)> {
    let options = source::Options { since_us, until_us, ..source::Options::default() };
    let progress = progress.0.clone();
    let format = format_of(format)?;
    if !matches!(format, formats::Format::Pcap | formats::Format::Pcapng) {
        return Err(PyValueError::new_err("packets are only in captures: pcap and pcapng"));
    }
    let mut report = report::Report::default();
    let mut failed = None;
    let (error, finished) = py.detach(|| {
        let mut sink = flows::Packets::new(|batch: RecordBatch| {
            let handed = Python::attach(|py| out.call1(py, PyTuple::new(py, [batch.to_pyarrow(py)?])?).map(|_| ()));
            if let Err(error) = handed {
                progress.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
                failed.get_or_insert(error);
            }
        });
        let result = formats::read(format, &path, &options, &mut sink, &mut report, &progress);
        (result.err(), sink.finish())
    });
    if let Some(error) = failed {
        return Err(error);
    }
    finished.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok((books(py, &report)?, error))
}

/// The format of a file by its first bytes (unpacked), or None.
#[pyfunction]
fn sniff(head: &[u8]) -> Option<&'static str> {
    formats::Format::sniff(head).map(formats::Format::name)
}

/// The first bytes of a file, unpacked: at most `limit`.
#[pyfunction]
fn head<'py>(py: Python<'py>, path: PathBuf, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = py.detach(|| input::head(&path, limit))?;
    Ok(PyBytes::new(py, &bytes))
}

/// An MMDB file that maps addresses to origin AS, organisation or country.
#[pyclass(frozen, module = "unflux._native")]
struct AddressTable(enrich::Table);

#[pymethods]
impl AddressTable {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        enrich::Table::open(&path).map(AddressTable).map_err(PyValueError::new_err)
    }

    /// (database type, build time in seconds since the epoch), as the file says.
    fn about(&self) -> (String, u64) {
        self.0.about()
    }
}

fn as_strings(data: ArrayData) -> PyResult<StringArray> {
    let array = make_array(data.0);
    array
        .as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(|| PyValueError::new_err(format!("an array of strings is needed, not {}", array.data_type())))
}

/// Look up every address: prefix, origin_asn, organisation, country, special; null for no address.
#[pyfunction]
#[pyo3(signature = (addresses, asn=None, country=None))]
fn locate<'py>(
    py: Python<'py>,
    addresses: ArrayData,
    asn: Option<&AddressTable>,
    country: Option<&AddressTable>,
) -> PyResult<Bound<'py, PyAny>> {
    let addresses = as_strings(addresses)?;
    let (asn, country) = (asn.map(|table| &table.0), country.map(|table| &table.0));
    let batch = py.detach(|| enrich::locate(&addresses, asn, country));
    batch.map_err(|error| PyRuntimeError::new_err(error.to_string()))?.to_pyarrow(py)
}

/// The Public Suffix List, from the bytes of its file.
#[pyclass(frozen, module = "unflux._native")]
struct Suffixes(enrich::Suffixes);

#[pymethods]
impl Suffixes {
    #[new]
    fn new(list: &[u8]) -> PyResult<Self> {
        enrich::Suffixes::parse(list).map(Suffixes).map_err(PyValueError::new_err)
    }

    /// registered_domain and suffix_section ("icann", "private" or null) of every name.
    fn registered_domains<'py>(&self, py: Python<'py>, names: ArrayData) -> PyResult<Bound<'py, PyAny>> {
        let names = as_strings(names)?;
        let batch = py.detach(|| self.0.registered_domains(&names));
        batch.map_err(|error| PyRuntimeError::new_err(error.to_string()))?.to_pyarrow(py)
    }
}

/// For each of these rows (ascending) and each other row: at how many of its addresses (sampled)
/// that one is met. Columns a, b, n; see `unflux_core::meetings`.
#[pyfunction]
#[pyo3(name = "meetings")]
fn met<'py>(py: Python<'py>, rows: ArrayData, codes: ArrayData) -> PyResult<Bound<'py, PyAny>> {
    let (rows, codes) = (as_numbers(rows)?, as_numbers(codes)?);
    let batch = py.detach(|| meetings::of_rows(&rows, &codes)).map_err(PyValueError::new_err)?;
    batch.to_pyarrow(py)
}

fn as_numbers(data: ArrayData) -> PyResult<Int32Array> {
    let array = make_array(data.0);
    array
        .as_any()
        .downcast_ref::<Int32Array>()
        .cloned()
        .ok_or_else(|| PyValueError::new_err(format!("an array of int32 is needed, not {}", array.data_type())))
}

/// Counts per name out of sightings in canonical order, and hosts, stays and slices of pools; see
/// `unflux_core::rollup`.
#[pyfunction]
fn roll_up<'py>(
    py: Python<'py>,
    sightings: Vec<Batch>,
    activity: Vec<Batch>,
    places: Batch,
    domains: ArrayData,
    threads: usize,
) -> PyResult<[Bound<'py, PyAny>; 4]> {
    let domains = as_numbers(domains)?;
    let (sightings, activity) = (batches(sightings), batches(activity));
    let rolled = py.detach(|| rollup::rollup(&sightings, &activity, &places.0, &domains, threads));
    let rollup::Rollup { names, hosts, stays, slices } = rolled.map_err(PyValueError::new_err)?;
    Ok([names.to_pyarrow(py)?, hosts.to_pyarrow(py)?, stays.to_pyarrow(py)?, slices.to_pyarrow(py)?])
}

fn batches(list: Vec<Batch>) -> Vec<RecordBatch> {
    list.into_iter().map(|batch| batch.0).collect()
}

/// Names whose agents are put together at a time: all of them twice, here and in Python, would be
/// hundreds of megabytes.
const AGENTS_AT_ONCE: usize = 512;

/// Agents of names as JSON arrays; None for a name without addresses.
///
/// `names` ascend; `is_flux` and `rotates` have an entry per name.
#[pyfunction]
#[pyo3(name = "agents", signature = (sightings, places, names, is_flux, rotates, threads=1))]
fn agents_of<'py>(
    py: Python<'py>,
    sightings: Vec<Batch>,
    places: Batch,
    names: Vec<u32>,
    is_flux: Vec<bool>,
    rotates: Vec<bool>,
    threads: usize,
) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
    if names.len() != is_flux.len() || names.len() != rotates.len() {
        return Err(PyValueError::new_err("names, is_flux and rotates must have the same length"));
    }
    let flags = is_flux.into_iter().zip(rotates);
    let accused: Vec<agents::Accused> = names
        .into_iter()
        .zip(flags)
        .map(|(name, (is_flux, rotates))| agents::Accused { name, is_flux, rotates })
        .collect();
    let sightings = batches(sightings);
    let agents = py.detach(|| agents::Agents::new(&sightings, &places.0, &accused)).map_err(PyValueError::new_err)?;
    let mut all = Vec::with_capacity(accused.len());
    for some in accused.chunks(AGENTS_AT_ONCE) {
        let listed = py.detach(|| agents.json(some, threads));
        all.extend(listed.into_iter().map(|json| json.map(|json| PyBytes::new(py, &json))));
    }
    Ok(all)
}

/// Of each of these names, which ascend: the clients that asked as a JSON array, and their number.
#[pyfunction]
#[pyo3(name = "clients")]
fn asked_by<'py>(
    py: Python<'py>,
    activity: Vec<Batch>,
    n_names: usize,
    names: Vec<u32>,
) -> PyResult<Vec<(Bound<'py, PyBytes>, usize)>> {
    let activity = batches(activity);
    let listed = py.detach(|| asking::Asking::new(&activity, n_names).map(|asking| asking.json(&names)));
    let listed = listed.map_err(PyValueError::new_err)?;
    Ok(listed.into_iter().map(|(json, n)| (PyBytes::new(py, &json), n)).collect())
}

/// Rows of the answers table as bytes: records of a pcap file, frames of dnstap, rows of Zeek's log.
///
/// The rows of one response must stand together. Raises ValueError for what cannot be written.
#[pyfunction]
#[pyo3(name = "compose")]
fn composed<'py>(py: Python<'py>, batch: Batch, form: &str) -> PyResult<Bound<'py, PyBytes>> {
    let form = compose::Form::from_name(form)
        .ok_or_else(|| PyValueError::new_err(format!("form is pcap, dnstap, dnstap_server or zeek, not {form:?}")))?;
    let mut composer = compose::Composer::new(form);
    let mut report = report::Report::default();
    py.detach(|| answers::import(&batch.0, &mut composer, &mut report)).map_err(PyValueError::new_err)?;
    match report.malformed.values().next() {
        Some(tally) => Err(PyValueError::new_err(format!("response {} of the batch is malformed", tally.first))),
        None => Ok(PyBytes::new(py, &composer.out)),
    }
}

/// The columns of the Zeek log that `compose` writes.
#[pyfunction]
fn zeek_fields() -> Vec<&'static str> {
    compose::ZEEK_FIELDS.to_vec()
}

/// Kinds of skipped and malformed items, for the documentation and its test.
#[pyfunction]
fn kinds() -> HashMap<&'static str, Vec<&'static str>> {
    HashMap::from([
        ("skipped", report::Skip::ALL.iter().map(|kind| kind.name()).collect()),
        ("malformed", report::Malformed::ALL.iter().map(|kind| kind.name()).collect()),
    ])
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Progress>()?;
    module.add_class::<Reducer>()?;
    module.add_class::<live::Live>()?;
    module.add_class::<live::Window>()?;
    module.add_class::<AddressTable>()?;
    module.add_class::<Suffixes>()?;
    module.add_function(wrap_pyfunction!(read_answers, module)?)?;
    module.add_function(wrap_pyfunction!(read_packets, module)?)?;
    module.add_function(wrap_pyfunction!(sniff, module)?)?;
    module.add_function(wrap_pyfunction!(head, module)?)?;
    module.add_function(wrap_pyfunction!(locate, module)?)?;
    module.add_function(wrap_pyfunction!(in_canonical_order, module)?)?;
    module.add_function(wrap_pyfunction!(met, module)?)?;
    module.add_function(wrap_pyfunction!(roll_up, module)?)?;
    module.add_function(wrap_pyfunction!(agents_of, module)?)?;
    module.add_function(wrap_pyfunction!(asked_by, module)?)?;
    module.add_function(wrap_pyfunction!(composed, module)?)?;
    module.add_function(wrap_pyfunction!(zeek_fields, module)?)?;
    module.add_function(wrap_pyfunction!(kinds, module)?)?;
    Ok(())
}
