// SPDX-License-Identifier: GPL-2.0-only
//! Disks: written and read past the kernel's cache, judged by checksum.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

const O_DIRECT: i32 = 0o40000;
const BLOCK: usize = 256 << 10;
const WORD: usize = size_of::<u64>();
/// What the rig fills the first mebibytes with: word i is (i + 1) times this.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Memory that a device may read and write directly.
#[repr(align(4096))]
struct Buffer([u8; BLOCK]);

/// Reads the rig's own pattern from the beginning; returns how many requests that took.
pub fn read_pattern(name: &str, mebibytes: usize) -> Result<u64, String> {
    let content = |index: u64| (index + 1).wrapping_mul(STEP);
    judge("the rig's pattern", expected(mebibytes, content), read(name, 0, mebibytes)?)?;
    Ok(requests(mebibytes))
}

/// Writes and reads back a piece of the disk, other content for each `seed`; returns how many
/// requests that took.
pub fn write_and_read(name: &str, begin: u64, mebibytes: usize, seed: u64) -> Result<u64, String> {
    let content = |index: u64| (index ^ seed).wrapping_mul(STEP);
    let file = OpenOptions::new().write(true).custom_flags(O_DIRECT).open(format!("/dev/{name}"));
    let file = file.map_err(|error| format!("/dev/{name}: {error}"))?;
    let mut buffer = Box::new(Buffer([0; BLOCK]));
    for block in 0..requests(mebibytes) {
        let first = block * (BLOCK / WORD) as u64;
        for (number, word) in buffer.0.chunks_exact_mut(WORD).enumerate() {
            word.copy_from_slice(&content(first + number as u64).to_le_bytes());
        }
        file.write_all_at(&buffer.0, begin + block * BLOCK as u64)
            .map_err(|error| format!("write to {name}: {error}"))?;
    }
    judge("what was written", expected(mebibytes, content), read(name, begin, mebibytes)?)?;
    Ok(2 * requests(mebibytes))
}

fn requests(mebibytes: usize) -> u64 {
    ((mebibytes << 20) / BLOCK) as u64
}

/// The checksum of words.
fn sum(start: u64, words: impl Iterator<Item = u64>) -> u64 {
    words.fold(start, |sum, word| sum.rotate_left(5) ^ word)
}

fn expected(mebibytes: usize, content: impl Fn(u64) -> u64) -> u64 {
    sum(0, (0..((mebibytes << 20) / WORD) as u64).map(content))
}

fn read(name: &str, begin: u64, mebibytes: usize) -> Result<u64, String> {
    let file = OpenOptions::new().read(true).custom_flags(O_DIRECT).open(format!("/dev/{name}"));
    let file = file.map_err(|error| format!("/dev/{name}: {error}"))?;
    let mut buffer = Box::new(Buffer([0; BLOCK]));
    let mut checksum = 0;
    for block in 0..requests(mebibytes) {
        let place = begin + block * BLOCK as u64;
        file.read_exact_at(&mut buffer.0, place)
            .map_err(|error| format!("read from {name}: {error}"))?;
        checksum = sum(checksum, buffer.0.chunks_exact(WORD).map(word));
    }
    Ok(checksum)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn judge(what: &str, wanted: u64, seen: u64) -> Result<(), String> {
    if wanted == seen {
        Ok(())
    } else {
        Err(format!("{what} has checksum {wanted:#x}, read was {seen:#x}"))
    }
}
