// SPDX-License-Identifier: GPL-2.0-only
//! What this image is to do: the program is the same in all images, the plan in it is written
//! afterwards.

use core::ptr;

/// What `scripts/tools/guests.py` looks for in the program.
const MARK: [u8; 16] = *b"hvm-tests: plan\n";
/// Room for the text; the rest is zero.
const ROOM: usize = 4096;

#[repr(C)]
struct Plan {
    mark: [u8; 16],
    text: [u8; ROOM],
}

/// Mutable data, so that the compiler takes nothing for known.
#[unsafe(link_section = ".data.plan")]
static mut PLAN: Plan = Plan { mark: MARK, text: [0; ROOM] };

/// The text: words, apart by spaces, in lines.
fn text() -> &'static str {
    // SAFETY: nothing writes it while the image runs.
    let text: &'static [u8; ROOM] = unsafe {
        // Nobody else reads the mark: without this it is not in the program.
        ptr::read_volatile(&raw const PLAN.mark);
        &*ptr::addr_of!(PLAN.text)
    };
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(ROOM);
    core::str::from_utf8(&text[..end]).unwrap_or_default()
}

/// The words of the line that starts with `word`.
fn line(word: &str) -> impl Iterator<Item = &'static str> {
    text()
        .lines()
        .filter_map(move |line| line.strip_prefix(word))
        .flat_map(str::split_ascii_whitespace)
}

/// The names of the tests to run, in turn.
pub fn tests() -> impl Iterator<Item = &'static str> {
    line("tests ")
}

/// Whether the image is to run on a device of this kind.
pub fn on(kind: &str) -> bool {
    line("devices ").any(|word| word == kind)
}
