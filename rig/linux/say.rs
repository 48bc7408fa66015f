// SPDX-License-Identifier: GPL-2.0-only
//! Lines on Xen's console, by port 0xE9.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

const PORT: u64 = 0xE9;

/// What came of a step, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    Success,
    Error,
    Failure,
}

impl Word {
    /// As the runner knows it.
    pub fn text(self) -> &'static str {
        match self {
            Word::Success => "SUCCESS",
            Word::Error => "ERROR",
            Word::Failure => "FAILURE",
        }
    }
}

/// Prints one line. Where there is no port nobody listens.
pub fn line(text: &str) {
    let Ok(port) = OpenOptions::new().write(true).open("/dev/port") else { return };
    for byte in text.bytes().chain([b'\n']) {
        // The offset is the port, so each byte is a write of its own.
        let _ = port.write_all_at(&[byte], PORT);
    }
}

/// Says that the matter under test is wrong.
pub fn failure(reason: &str) -> Word {
    line(&format!("Failure: {reason}"));
    Word::Failure
}

/// Says that the test itself cannot go on.
pub fn error(reason: &str) -> Word {
    line(&format!("Error: {reason}"));
    Word::Error
}
