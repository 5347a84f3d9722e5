//! Reduce a file and say how long each step took: `reduce FILE [THREADS]`. For profilers.

use std::path::PathBuf;
use std::time::Instant;

use unflux_core::{formats, input, reduce, report, sightings, source};

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: reduce FILE [THREADS]")?);
    let threads = arguments.next().map_or(Ok(1), |text| text.parse()).map_err(|_| "THREADS is a number")?;
    let head = input::head(&path, 4096).map_err(|error| error.to_string())?;
    let format = formats::Format::sniff(&head).ok_or("the format is not known")?;
    let options = source::Options { threads, ..source::Options::default() };
    let (mut reducer, mut books) = (reduce::Reducer::default(), report::Report::default());
    let started = Instant::now();
    formats::reduce(format, &path, &options, &mut reducer, &mut books, &input::Progress::default())?;
    let read = started.elapsed();
    let reduced = sightings::export(reducer, threads).map_err(|error| error.to_string())?;
    let rows: usize = reduced.sightings.iter().map(|batch| batch.num_rows()).sum();
    println!("{} responses, {rows} sightings: read {read:.2?}, with columns {:.2?}", books.decoded, started.elapsed());
    std::process::exit(0); // giving memory back is not measured
}
