//! What the programs that load a tracker have in common: options as `name=value`, times, and what a process uses.

pub mod options;

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// The kernel's clock ticks in a second, in which processor time is told.
const TICKS: f64 = 100.0;

/// How often which time was measured, each microsecond for itself, up to a longest one that stands for all above it.
#[derive(Clone, Debug)]
pub struct Times(Vec<u64>);

impl Times {
    /// No times yet; `longest` is the longest that is told apart.
    pub fn new(longest: Duration) -> Self {
        Self(vec![0; longest.as_micros() as usize + 1])
    }

    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        let micros = (time.as_micros() as usize).min(self.0.len() - 1);
        self.0[micros] += 1;
    }

    /// Takes in what another has counted, up to the same longest time.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time in microseconds that so large a part of all did not exceed; 0 when there are none.
    pub fn quantile(&self, part: f64) -> usize {
        let rank = (self.count() as f64 * part) as u64;
        let mut seen = 0;
        let within = self.0.iter().position(|count| {
            seen += count;
            seen > rank
        });
        within.unwrap_or_default()
    }
}

/// Random numbers that are the same in every run, and cost next to nothing (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Those of one thread of many.
    pub fn new(thread: u32) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ u64::from(thread) << 32)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(count)) >> 32) as u32
    }
}

/// Seconds of processor time that a process has used; 0 for process 0.
///
/// # Errors
/// There is no such process.
pub fn processor_time(pid: u32) -> Result<f64> {
    if pid == 0 {
        return Ok(0.0);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("a stat line")?.1;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// Bytes of memory of a process that are resident; 0 for process 0.
///
/// # Errors
/// There is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    if pid == 0 {
        return Ok(0);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process with memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
