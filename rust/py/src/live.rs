//! The live side for Python: `Live` takes in, `Window` keeps. It converts and releases the GIL.

use std::net::SocketAddr;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_pyarrow::ToPyArrow;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use unflux_core::reduce::{self, window};
use unflux_core::{sightings, text};

use crate::{Batches, Reducer, books, format_of, options, policy};

/// Listeners, a bounded queue and reducing threads; see `unflux_live`.
#[pyclass(frozen, module = "unflux._native")]
pub struct Live(unflux_live::Live);

#[pymethods]
impl Live {
    #[new]
    #[pyo3(signature = (*, clients, client_key, ports, vantage, threads, queue_bytes))]
    fn new(
        clients: &str,
        client_key: Option<[u8; 16]>,
        ports: Vec<u16>,
        vantage: &str,
        threads: usize,
        queue_bytes: usize,
    ) -> PyResult<Self> {
        let options = options(ports, vantage, i64::MIN, i64::MAX, 1)?;
        Ok(Live(unflux_live::Live::new(policy(clients, client_key)?, options, threads, queue_bytes)))
    }

    /// Listen for dnstap on a Unix socket, which must not exist yet.
    fn listen_unix(&self, path: PathBuf) -> PyResult<()> {
        Ok(self.0.listen_unix(&path)?)
    }

    /// Listen for dnstap on TCP; returns the port.
    fn listen_tcp(&self, host: &str, port: u16) -> PyResult<u16> {
        let host = host.parse().map_err(|_| PyValueError::new_err(format!("{host:?} is no IP address")))?;
        Ok(self.0.listen_tcp(SocketAddr::new(host, port))?.port())
    }

    /// A place to feed bytes of a log or capture into; returns its number.
    fn open_feed(&self, format: &str) -> PyResult<usize> {
        Ok(self.0.open_feed(format_of(format)?))
    }

    /// Take in the next bytes of a feed; `last` when a new file follows. Returns a sentence or None.
    fn feed(&self, py: Python<'_>, number: usize, bytes: &[u8], last: bool) -> Option<String> {
        let live = &self.0;
        py.detach(|| live.feed(number, bytes, last)).err()
    }

    fn set_range(&self, since_us: i64, until_us: i64) {
        self.0.set_range(since_us, until_us);
    }

    /// (reducer, books) of what came since the last call.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Reducer, Bound<'py, PyDict>)> {
        let live = &self.0;
        let (reducer, report) = py.detach(|| live.take());
        Ok((Reducer(Some(reducer)), books(py, &report)?))
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (name, value) in self.0.counters() {
            out.set_item(name, value)?;
        }
        Ok(out)
    }

    fn stop(&self, py: Python<'_>) {
        let live = &self.0;
        py.detach(|| live.stop());
    }
}

/// Hours of sightings that are merged into, asked and bounded; see `unflux_core::reduce::window`.
#[pyclass(module = "unflux._native")]
pub struct Window(window::Window);

fn to_python<'py>(py: Python<'py>, reducer: reduce::Reducer, threads: usize) -> PyResult<(Batches<'py>, Batches<'py>)> {
    let reduced = py
        .detach(|| sightings::export(reducer, threads))
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let convert =
        |batches: Vec<RecordBatch>| batches.iter().map(|batch| batch.to_pyarrow(py)).collect::<PyResult<Vec<_>>>();
    Ok((convert(reduced.sightings)?, convert(reduced.activity)?))
}

#[pymethods]
impl Window {
    /// `plain`: every record type is kept, nothing is judged or evicted.
    #[new]
    #[pyo3(signature = (*, plain=false))]
    fn new(plain: bool) -> Self {
        Window(window::Window::new(plain))
    }

    /// Merge in what a reducer holds, which it keeps.
    fn fold(&mut self, py: Python<'_>, young: &mut Reducer) -> PyResult<()> {
        let (window, young) = (&mut self.0, young.inner()?);
        py.detach(|| window.fold(young));
        Ok(())
    }

    /// Numbers of names to be judged now, `max_names` at most.
    fn due(&mut self, now_s: u32, max_names: usize) -> Vec<u32> {
        self.0.due(now_s, max_names)
    }

    fn names(&self, ids: Vec<u32>) -> Vec<String> {
        ids.iter().map(|id| self.0.name(*id)).collect()
    }

    /// (sightings, activity) of everything that judging these names needs.
    fn select<'py>(&mut self, py: Python<'py>, ids: Vec<u32>) -> PyResult<(Batches<'py>, Batches<'py>)> {
        let window = &mut self.0;
        let reducer = py.detach(|| window.select(&ids));
        to_python(py, reducer, 1)
    }

    /// (sightings, activity) of all there is; nothing is left here.
    fn take<'py>(&mut self, py: Python<'py>, threads: usize) -> PyResult<(Batches<'py>, Batches<'py>)> {
        let window = &mut self.0;
        let reducer = py.detach(|| window.take());
        to_python(py, reducer, threads)
    }

    /// Never evict these names (until `pinned` is False).
    fn pin(&mut self, names: Vec<String>, pinned: bool) {
        self.0.pin(names.iter().map(String::as_str), pinned);
    }

    fn judge_all(&mut self) {
        self.0.judge_all();
    }

    /// Pairs of (place in the list, name) for who else uses these addresses.
    fn users_of(&self, py: Python<'_>, addresses: Vec<String>, max_names: usize) -> Vec<(usize, String)> {
        let parsed: Vec<_> = addresses.iter().map(|one| text::parse_address(one).unwrap_or_default()).collect();
        let window = &self.0;
        py.detach(|| window.users_of(&parsed, max_names))
    }

    /// Zones that were seen on a name server, 256 at most.
    fn zones_of(&self, server: &str) -> Vec<String> {
        self.0.zones_of(server)
    }

    /// Name servers that were seen for a zone, 256 at most.
    fn servers_of(&self, zone: &str) -> Vec<String> {
        self.0.servers_of(zone)
    }

    /// Drop hours before this one (since the epoch); returns how many were dropped.
    fn expire(&mut self, py: Python<'_>, hour: i64) -> usize {
        let window = &mut self.0;
        py.detach(|| window.expire(hour))
    }

    /// Shrink to about `target_bytes`; returns what went.
    fn evict<'py>(&mut self, py: Python<'py>, target_bytes: usize) -> PyResult<Bound<'py, PyDict>> {
        let window = &mut self.0;
        let gone = py.detach(|| window.evict(target_bytes));
        let out = PyDict::new(py);
        for (name, value) in [
            ("benign_names", gone.benign_names),
            ("other_names", gone.other_names),
            ("rows", gone.rows),
            ("runs", gone.runs),
        ] {
            out.set_item(name, value)?;
        }
        Ok(out)
    }

    /// How much was not followed for its bounds, since the start.
    fn bounds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        out.set_item("links_over", self.0.bounds.links_over)?;
        out.set_item("sharers_over", self.0.bounds.sharers_over)?;
        Ok(out)
    }

    fn size<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let size = self.0.size();
        let out = PyDict::new(py);
        for (name, value) in [
            ("names", size.n_names),
            ("rows", size.n_rows),
            ("hours", size.n_hours),
            ("bytes", size.n_bytes),
            ("waiting", size.n_waiting),
            ("hot_zones", size.n_hot_zones),
        ] {
            out.set_item(name, value)?;
        }
        Ok(out)
    }
}
