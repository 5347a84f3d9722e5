//! Files as streams of bytes: plain, gzip, zstd, xz or lz4, told by their first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What a packed file may unpack to: deflate's own limit is 1,032 bytes for one, no honest capture
/// or log comes near it, and bombs in the other formats promise a million for one.
const MAX_UNPACKED_RATIO: u64 = 1_100;
/// … beside this much, so that small files need no sum.
const UNPACKED_FLOOR: u64 = 64 << 20;
/// Largest dictionary or window that is given memory: what `xz -9` and `zstd --ultra` need is less.
const MAX_WINDOW: u64 = 128 << 20;

/// Seen from outside while a file is read: how far it is, and whether to stop.
#[derive(Default)]
pub struct Progress {
    /// Bytes of the input files consumed so far, compressed ones as stored.
    pub bytes: AtomicU64,
    pub cancel: AtomicBool,
}

impl Progress {
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    pub fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
    Xz,
    Lz4,
}

impl Packing {
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1F, 0x8B, ..] => Packing::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Packing::Zstd,
            // A skippable frame (RFC 8878 §3.1.2) may stand first; LZ4 has the same, but never here.
            [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Packing::Zstd,
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            [0x04, 0x22, 0x4D, 0x18, ..] => Packing::Lz4,
            _ => Packing::Plain,
        }
    }
}

/// Open a file and unpack it on the way.
///
/// # Errors
/// When it cannot be opened or read.
pub fn open<'a>(path: &Path, progress: &'a Progress) -> io::Result<Box<dyn Read + 'a>> {
    unpack(Counted { inner: File::open(path)?, progress }, progress)
}

/// The first `limit` bytes of a file, unpacked; fewer when it is shorter or breaks off.
///
/// # Errors
/// When it cannot be opened or its first byte cannot be read.
pub fn head(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let progress = Progress::default();
    let reader = unpack(File::open(path)?, &progress)?;
    let mut head = Vec::new();
    match reader.take(limit as u64).read_to_end(&mut head) {
        Err(error) if head.is_empty() && error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(head),
    }
}

fn unpack<'a, R: Read + 'a>(file: R, progress: &'a Progress) -> io::Result<Box<dyn Read + 'a>> {
    let mut file = BufReader::with_capacity(1 << 18, file);
    let packing = Packing::of(file.fill_buf()?);
    let limit_kib = (MAX_WINDOW >> 10) as u32;
    let unpacked: Box<dyn Read + 'a> = match packing {
        Packing::Plain => return Ok(Box::new(file)),
        Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
        Packing::Zstd => Box::new(Zstd { source: file, decoder: FrameDecoder::new(), open: false }),
        Packing::Xz => Box::new(XzReader::new_mem_limit(file, true, limit_kib)),
        Packing::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(file)),
    };
    Ok(Box::new(Bounded { inner: unpacked, unpacked: 0, progress, before: progress.bytes.load(Ordering::Relaxed) }))
}

/// A file whose reads are counted in [`Progress`].
struct Counted<'a> {
    inner: File,
    progress: &'a Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}

/// Stops a file that unpacks to absurdly more than it is.
struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    unpacked: u64,
    progress: &'a Progress,
    /// What had been read before this file; several may be read at once, which only widens the limit.
    before: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.unpacked += n as u64;
        let packed = self.progress.bytes.load(Ordering::Relaxed) - self.before;
        if self.unpacked > UNPACKED_FLOOR + packed.saturating_mul(MAX_UNPACKED_RATIO) {
            let sentence =
                format!("it unpacks to more than {MAX_UNPACKED_RATIO} times its size, which no honest file does");
            return Err(io::Error::other(sentence));
        }
        Ok(n)
    }
}

/// All frames of a zstd file, one after the other; the decoder of the library reads one.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    open: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Begin the next frame; false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            self.decoder.set_max_window_size(MAX_WINDOW);
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(zstd_error(&error)),
            }
        }
        Ok(false)
    }
}

fn zstd_error(error: &FrameDecoderError) -> io::Error {
    io::Error::other(format!("the zstd data is broken: {error}"))
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.open {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.open = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBytes(buffer.len());
                self.decoder.decode_blocks(&mut self.source, step).map_err(|error| zstd_error(&error))?;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.open = !self.decoder.is_finished();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_packing_is_known_by_its_first_bytes() {
        assert_eq!(Packing::of(b"\x1f\x8b\x08"), Packing::Gzip);
        assert_eq!(Packing::of(b"\x28\xb5\x2f\xfd"), Packing::Zstd);
        assert_eq!(Packing::of(b"\xfd7zXZ\0"), Packing::Xz);
        assert_eq!(Packing::of(b"\x04\x22\x4d\x18"), Packing::Lz4);
        assert_eq!(Packing::of(b"#separator"), Packing::Plain);
    }

    proptest! {
        #[test]
        fn any_bytes_behind_any_magic_end(magic in 0usize..5, noise in prop::collection::vec(any::<u8>(), 0..400)) {
            let heads: [&[u8]; 5] =
                [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0\0\x04", b"\x04\x22\x4d\x18", b"\x50\x2a\x4d\x18"];
            let bytes = [heads[magic], &noise].concat();
            let progress = Progress::default();
            if let Ok(reader) = unpack(&bytes[..], &progress) {
                let _ = io::copy(&mut reader.take(1 << 20), &mut io::sink());
            }
        }
    }
}
