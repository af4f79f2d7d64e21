//! Reading and writing exact ranges of a file: short transfers and interruptions are finished here, and nowhere else.

use super::fault;
use rustix::io::Errno;
use std::fs::File;
use std::io::IoSlice;

/// Slices of one system call at most (`IOV_MAX` of every Unix).
const SLICES_PER_CALL: usize = 1024;

/// Takes bytes from a list of slices in order.
pub(super) struct Gather<'b> {
    rest: &'b [&'b [u8]],
    /// Bytes of the first slice that are taken already.
    taken: usize,
}

impl<'b> Gather<'b> {
    pub(super) fn new(slices: &'b [&'b [u8]]) -> Self {
        Self { rest: slices, taken: 0 }
    }

    /// The next `length` bytes, or fewer at the end.
    pub(super) fn take(&mut self, length: u64) -> Vec<IoSlice<'b>> {
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        let mut slices = Vec::new();
        while let Some((first, others)) = self.rest.split_first().filter(|_| left > 0) {
            let open = first.get(self.taken..).unwrap_or_default();
            let (now, later) = open.split_at(left.min(open.len()));
            if !now.is_empty() {
                slices.push(IoSlice::new(now));
            }
            left -= now.len();
            if later.is_empty() {
                (self.rest, self.taken) = (others, 0);
            } else {
                self.taken += now.len();
            }
        }
        slices
    }
}

/// Writes all slices one behind the other from `offset` on.
pub(super) fn write_all_at(file: &File, slices: &mut [IoSlice<'_>], offset: u64) -> Result<(), Errno> {
    let write = |slices: &[IoSlice<'_>], offset| {
        fault::point()?;
        let part = fault::shortened(slices).map(|part| [IoSlice::new(part)]);
        let slices = part.as_ref().map_or(slices, |part| part.as_slice());
        let written = rustix::io::pwritev(file, slices, offset)?;
        fault::note(&fault::Deed::Written(file, slices, Some(offset)));
        Ok(written)
    };
    write_all_with(write, slices, offset)
}

fn write_all_with(
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize, Errno>,
    mut slices: &mut [IoSlice<'_>],
    mut offset: u64,
) -> Result<(), Errno> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let now = slices.get(..slices.len().min(SLICES_PER_CALL)).unwrap_or_default();
        match write(now, offset) {
            // No file system does this for a regular file; going on would be for ever.
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(Errno::INTR) => (),
            Err(code) => return Err(code),
        }
    }
    Ok(())
}

/// Fills as much of `out` as the file has from `offset` on; fewer bytes only at its end.
pub(super) fn read_at(file: &File, out: &mut [u8], offset: u64) -> Result<usize, Errno> {
    read_with(|out, offset| rustix::io::pread(file, out, offset), out, offset)
}

fn read_with(
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
    out: &mut [u8],
    offset: u64,
) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => (),
            Err(code) => return Err(code),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// A disk that does the worst that is allowed: every call moves one byte or is interrupted; one call fails.
    struct Awkward {
        data: Vec<u8>,
        calls: usize,
        fails_at: Option<(usize, Errno)>,
    }

    impl Awkward {
        fn step(&mut self) -> Result<(), Errno> {
            self.calls += 1;
            match self.fails_at {
                Some((call, code)) if call == self.calls => Err(code),
                _ if self.calls.is_multiple_of(2) => Err(Errno::INTR),
                _ => Ok(()),
            }
        }

        fn write(&mut self, slices: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
            self.step()?;
            let offset = usize::try_from(offset).unwrap();
            self.data.resize(self.data.len().max(offset + 1), 0);
            self.data[offset] = slices.iter().find(|slice| !slice.is_empty()).unwrap()[0];
            Ok(1)
        }
    }

    #[test]
    fn short_and_interrupted_writes_are_finished() {
        let mut disk = Awkward { data: Vec::new(), calls: 0, fails_at: None };
        let parts: [&[u8]; 4] = [b"", b"abc", b"", b"de"];
        let mut slices = Gather::new(&parts).take(5);
        write_all_with(|slices, offset| disk.write(slices, offset), &mut slices, 2).unwrap();
        assert_eq!(disk.data, b"\0\0abcde");
    }

    #[test]
    fn a_failure_at_any_call_is_told_and_the_retry_is_right() {
        for call in 1.. {
            let mut disk = Awkward { data: Vec::new(), calls: 0, fails_at: Some((call, Errno::NOSPC)) };
            let parts: [&[u8]; 3] = [b"ab", b"cd", b"e"];
            let mut attempt = || {
                let mut slices = Gather::new(&parts).take(5);
                write_all_with(|slices, offset| disk.write(slices, offset), &mut slices, 0)
            };
            if attempt().is_ok() {
                assert!(call > 5, "the fault was never met");
                break;
            }
            attempt().unwrap();
            assert_eq!(disk.data, b"abcde");
        }
    }

    #[test]
    fn a_full_device_says_so() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut slices = [IoSlice::new(b"abc")];
        assert_eq!(write_all_at(&full, &mut slices, 0), Err(Errno::NOSPC));
    }

    #[test]
    fn short_and_interrupted_reads_are_finished() {
        let mut calls = 0;
        let mut read = |out: &mut [u8], offset: u64| {
            calls += 1;
            match calls % 2 {
                0 => Err(Errno::INTR),
                _ if offset == 4 => Ok(0),
                _ => {
                    out[0] = b"abcd"[usize::try_from(offset).unwrap()];
                    Ok(1)
                }
            }
        };
        let mut out = [0; 6];
        assert_eq!(read_with(&mut read, &mut out, 1), Ok(3));
        assert_eq!(&out, b"bcd\0\0\0");
    }

    #[test]
    fn more_slices_than_one_call_takes() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..5_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let slices: Vec<&[u8]> = bytes.chunks(2).collect();
        let mut gather = Gather::new(&slices);
        write_all_at(&file, &mut gather.take(4_001), 10).unwrap();
        write_all_at(&file, &mut gather.take(u64::MAX), 4_011).unwrap();
        let mut read = vec![0; 5_000];
        file.read_exact_at(&mut read, 10).unwrap();
        assert!(read == bytes);
        assert!(gather.take(1).is_empty());
    }
}
